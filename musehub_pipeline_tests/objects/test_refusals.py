"""What servers say where they refuse, as the client passes it on, is one line that tells why."""

import pytest
from obstore.exceptions import GenericError

from musehub_pipeline.objects.refusals import (
    is_unanswered,
    knows_no_condition,
    lacks_a_right,
    reason_of,
    wants_a_checksum,
)

IDS = "<RequestId>4442587FB7D0A2F9</RequestId><HostId>vlR7PnpV2Ce81l0PRw6jlUpck7Jo</HostId>"
DUMP = '\n\nDebug source:\nGeneric {\n    body: "<Code>AccessDenied</Code>",\n}'


def refused(status: str, body: str = "", *, method: str = "PUT") -> GenericError:
    """Return what the client raises."""
    return GenericError(
        f"Generic S3 error: Error performing {method} http://s3.example.org/bucket/key in 3.1ms"
        f" - Server returned non-2xx status code: {status}: {body}{DUMP}"
    )


def xml(code: str, message: str, *, more: str = "", prolog: str = "\n") -> str:
    error = f"<Error><Code>{code}</Code><Message>{message}</Message>{more}{IDS}</Error>"
    return f'<?xml version="1.0" encoding="UTF-8"?>{prolog}{error}'


@pytest.mark.parametrize("prolog", ["\n", "", "\r\n"], ids=repr)
def test_the_reason_is_the_servers_code_and_message(prolog: str) -> None:
    error = refused("403 Forbidden", xml("AccessDenied", "Access Denied.", prolog=prolog))

    assert reason_of(error) == "AccessDenied: Access Denied."


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (xml("SlowDown", "Reduce\n  your &quot;rate&quot;"), 'SlowDown: Reduce your "rate"'),
        (xml("UnknownError", ""), "UnknownError"),
        ("<Error><Code>InvalidRange</Code></Error>", "InvalidRange"),
        (xml("NoSuchBucket", "The specified bucket does not exist"), "the bucket does not exist"),
    ],
)
def test_it_is_one_line_however_much_was_said(body: str, reason: str) -> None:
    assert reason_of(refused("400 Bad Request", body)) == reason


@pytest.mark.parametrize(
    "body", ["", "<html>\n<body>4442587FB7D0A2F9</body></html>", "4442587FB7D0A2F9"]
)
def test_where_the_server_gave_none_it_is_the_status_and_who_was_asked(body: str) -> None:
    reason = reason_of(refused("502 Bad Gateway", body))

    assert "http://s3.example.org/bucket/key" in reason
    assert reason.endswith("status code: 502 Bad Gateway")


def test_what_is_no_answer_is_told_as_it_is() -> None:
    assert reason_of(OSError(28, "No space left on device")) == "[Errno 28] No space left on device"
    assert reason_of(GenericError(f"HTTP error: timed out{DUMP}")) == "HTTP error: timed out"


@pytest.mark.parametrize(
    ("error", "unanswered"),
    [
        (
            GenericError(f"Error performing PUT http://h/k in 1ms - HTTP error: timed out{DUMP}"),
            True,
        ),
        (refused("503 Slow Down", "HTTP error: "), False),
        (GenericError(f"no such region{DUMP}"), False),
        (OSError(28, "No space left on device"), False),
    ],
)
def test_a_request_without_an_answer_may_have_been_done(error: Exception, unanswered: bool) -> None:
    assert is_unanswered(error) is unanswered


DENIED = xml("AccessDenied", "Access Denied")
NO_HEADER = "A header you provided implies functionality that is not implemented"
NO_MD5 = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Part requests"


@pytest.mark.parametrize(
    ("status", "body", "lacks"),
    [
        ("403 Forbidden", DENIED, True),
        ("403 Forbidden", "", True),
        ("403 Forbidden", xml("SignatureDoesNotMatch", "…"), False),
        ("403 Forbidden", xml("RequestTimeTooSkewed", "…"), False),
        ("404 Not Found", "", False),
    ],
)
def test_a_missing_right_is_told_from_wrong_credentials(
    status: str, body: str, lacks: bool
) -> None:
    assert lacks_a_right(refused(status, body)) is lacks


@pytest.mark.parametrize(
    ("status", "body", "unknown"),
    [
        ("501 Not Implemented", xml("NotImplemented", NO_HEADER), True),
        ("501 Not Implemented", "", True),
        ("405 Method Not Allowed", xml("NotImplemented", NO_HEADER), True),
        ("400 Bad Request", xml("InvalidArgument", "…", more="<H>If-None-Match</H>"), True),
        ("400 Bad Request", xml("InvalidArgument", "Unsupported header: if-none-match"), True),
        ("400 Bad Request", xml("InvalidArgument", "…"), False),
        ("400 Bad Request", xml("EntityTooLarge", "…"), False),
        ("405 Method Not Allowed", xml("MethodNotAllowed", "…"), False),
        ("500 Internal Server Error", xml("InternalError", "If-None-Match"), False),
        ("403 Forbidden", DENIED, False),
    ],
)
def test_only_what_is_said_of_the_condition_is_taken_for_it(
    status: str, body: str, unknown: bool
) -> None:
    assert knows_no_condition(refused(status, body)) is unknown


@pytest.mark.parametrize(
    ("status", "body", "wants"),
    [
        ("400 Bad Request", xml("InvalidRequest", NO_MD5), True),
        ("400 Bad Request", xml("MissingContentMD5", "Missing header: Content-Md5"), True),
        ("400 Bad Request", xml("BadDigest", "The Content-MD5 you specified did not match"), False),
        ("400 Bad Request", xml("InvalidRequest", "…"), False),
        ("403 Forbidden", DENIED, False),
    ],
)
def test_only_a_missing_checksum_is_given(status: str, body: str, wants: bool) -> None:
    assert wants_a_checksum(refused(status, body)) is wants
