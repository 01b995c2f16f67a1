"""What S3 says where it refuses, as the client passes it on: the reason, and what would help."""

import re
from html import unescape

from musehub_pipeline.domain.escapes import first_line

_DUMP = "\n\nDebug source:"  # what follows is for developers of the client
_STATUS = re.compile(r"status code: (\d{3})[^:\n]*")
_CODE = re.compile(r"<Code>\s*([^<]+?)\s*</Code>")
_MESSAGE = re.compile(r"<Message>\s*([^<]+?)\s*</Message>")


def reason_of(error: Exception) -> str:
    """Return why a request failed, in one line: S3's own code and message where it gave them.

    Its reply also has ids for its support, and the client adds a dump of what it knows: neither
    helps who reads why a job waits.
    """
    said = _said(error)
    if (code := _found(_CODE, said)) is None:
        line = first_line(said)
        status = _STATUS.search(line)  # behind it comes a page, of a gateway's, say
        return line[: status.end()] if status else line
    if code == "NoSuchBucket":
        return "the bucket does not exist"
    message = _found(_MESSAGE, said)
    return f"{code}: {message}" if message else code


def names_its_reason(error: Exception) -> bool:
    """Whether the server gave a code: an answer to HEAD has no room for it."""
    return _found(_CODE, _said(error)) is not None


def is_unanswered(error: Exception) -> bool:
    """Whether the connection has ended, or nothing came: what was asked for may have been done."""
    said = _said(error)
    return "HTTP error: " in said and _found(_STATUS, said) is None


def lacks_a_right(error: Exception) -> bool:
    """Whether a right is not granted, or nobody says that something else is wrong."""
    said = _said(error)
    return _found(_STATUS, said) == "403" and _found(_CODE, said) in {None, "AccessDenied"}


def knows_no_condition(error: Exception) -> bool:
    """Whether a put was refused for its ``If-None-Match``, which is newer than many a server."""
    said = _said(error)
    status = _found(_STATUS, said)
    return status == "501" or (
        status in {"400", "405"}
        and (_found(_CODE, said) == "NotImplemented" or "if-none-match" in said.lower())
    )


def wants_a_checksum(error: Exception) -> bool:
    """Whether a put was refused for want of a checksum, which a bucket under Object Lock asks."""
    said = _said(error)
    return (
        _found(_STATUS, said) == "400"
        and "content-md5" in said.lower()
        and _found(_CODE, said) in {"InvalidRequest", "MissingContentMD5"}
    )


def _said(error: Exception) -> str:
    return str(error).partition(_DUMP)[0]


def _found(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return " ".join(unescape(found[1]).split()) if found else None
