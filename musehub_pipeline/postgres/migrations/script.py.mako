"""${message}."""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    # The first revision creates the tables as they are today: add with if_not_exists=True.
    ${upgrades if upgrades else "pass"}
