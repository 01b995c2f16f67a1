"""Labels of what is shown: who owns it, and tags to filter by. Their forms are Dagster's."""

import re
from collections.abc import Iterator

_EMAIL = re.compile(r"[A-Za-z0-9._%+-]*\w@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}", re.ASCII)
_TEAM = re.compile(r"team:[\w .-]{0,62}\w", re.ASCII)
_KEY = re.compile(r"(?:([\w.-]{1,63})/)?[\w.-]{1,63}", re.ASCII)
_VALUE = re.compile(r"[\w.-]{0,63}", re.ASCII)
_TAKEN = {"dagster", ".dagster", "musehub"}


def parse_owners(text: str) -> list[str]:
    """Read owners, as in ``ada@example.org,team:hub``.

    Raises:
        ValueError: one is neither an email address nor ``team:NAME``, or stands there twice.
    """
    owners: list[str] = []
    for owner in _parts(text):
        if not (_EMAIL.fullmatch(owner) or _TEAM.fullmatch(owner)):
            raise ValueError(f"{owner!r:.80} is neither an email address nor team:NAME")
        if owner in owners:
            raise ValueError(f"{owner!r:.80} is given twice")
        owners.append(owner)
    return owners


def parse_tags(text: str) -> dict[str, str]:
    """Read tags, as in ``env=production,acme.org/tier=1``.

    Raises:
        ValueError: one is not KEY=VALUE, its key stands there twice or is in a room that is taken.
    """
    tags: dict[str, str] = {}
    for part in _parts(text):
        key, equals, value = (word.strip() for word in part.partition("="))
        found = _KEY.fullmatch(key)
        if not (found and equals and _VALUE.fullmatch(value)):
            raise ValueError(
                f"{part!r:.80} is not KEY=VALUE, of up to 63 letters, digits, '_', '-' and '.' each"
            )
        if found[1] in _TAKEN:
            raise ValueError(f"{key!r:.80} (given {value!r:.80}) is in a room that is taken")
        if key in tags:
            raise ValueError(f"{key!r:.80} is given twice, the second time as {value!r:.80}")
        tags[key] = value
    return tags


def _parts(text: str) -> Iterator[str]:
    return (part.strip() for part in (text.split(",") if text.strip() else ()))
