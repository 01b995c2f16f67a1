"""${message}."""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    # A hub may have made it already: add with if_not_exists=True.
    ${upgrades if upgrades else "pass"}
