"""What S3 does where it fails, refuses or differs, for `faulty_s3.FaultyS3` to do."""

from dataclasses import replace

from musehub_pipeline_tests.servers.faulty_s3 import Ask, Fault, FaultyS3, Reply, Request

SKEWED = "The difference between the request time and the current time is too large."


def refusal(status: int, code: str, message: str, more: str = "") -> Reply:
    """Return what AWS answers: the reason behind a line of XML, then what is for its support."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message>{more}"
        "<RequestId>4442587FB7D0A2F9</RequestId><HostId>vlR7PnpV2Ce81l0PRw6jlUpck7Jo5ZsQ</HostId>"
        "</Error>"
    )
    headers = {"content-type": "application/xml", "x-amz-request-id": "4442587FB7D0A2F9"}
    return Reply(status=status, headers=headers, body=body.encode())


def busy(request: Request, ask: Ask) -> Reply:
    return refusal(503, "SlowDown", "Please reduce your request rate.")


def cut_off(request: Request, ask: Ask) -> Reply:
    reply = ask(request)
    return replace(reply, cut_at=len(reply.body) // 2)


def reset(request: Request, ask: Ask) -> Reply:
    return replace(cut_off(request, ask), reset=True)


def hung_up(request: Request, ask: Ask) -> None:
    """Have nothing done, and give no answer."""


def unanswered(request: Request, ask: Ask) -> None:
    """Have it done, and give no answer."""
    ask(request)


def slow(request: Request, ask: Ask) -> Reply:
    return replace(ask(request), pause=0.02)


def spoiled(request: Request, ask: Ask) -> Reply:
    reply = ask(request)
    return replace(reply, body=reply.body[:-1] + b"?")


def spoiled_on_the_way(request: Request, ask: Ask) -> Reply:
    return ask(replace(request, body=bytes(len(request.body))))


def away(request: Request, ask: Ask) -> Reply:
    return Reply(status=404, body=b"<html>\n<body>nothing here</body></html>")


def skewed(request: Request, ask: Ask) -> Reply:
    return refusal(403, "RequestTimeTooSkewed", SKEWED)


def without_conditions(status: int, code: str, more: str) -> Fault:
    def answer(request: Request, ask: Ask) -> Reply:
        if "if-none-match" not in request.headers:
            return ask(request)
        message = "A header you provided implies functionality that is not implemented"
        return refusal(status, code, message, more)

    return answer


def heedless(way: FaultyS3) -> Fault:
    """Have the server `way` leads to see no condition."""

    def answer(request: Request, ask: Ask) -> Reply:
        headers = dict(request.headers)
        if headers.pop("if-none-match", None) is None:
            return ask(request)
        return ask(way.signed(replace(request, headers=headers)))

    return answer


def locked(request: Request, ask: Ask) -> Reply:
    """Answer as AWS does for a bucket with a default retention: no put without a checksum."""
    named = {"content-md5", "x-amz-checksum-sha256"} & request.headers.keys()
    if request.method != "PUT" or named:
        return ask(request)
    return refusal(
        400,
        "InvalidRequest",
        "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with"
        " Object Lock parameters",
    )


def secretive(request: Request, ask: Ask) -> Reply:
    """Answer as AWS does to whom may not list: what is missing is denied."""
    reply = ask(request)
    return refusal(403, "AccessDenied", "Access Denied") if reply.status == 404 else reply


def blind(request: Request, ask: Ask) -> Reply:
    """Answer as AWS does to whom may only put."""
    if request.method in {"GET", "HEAD"}:
        return refusal(403, "AccessDenied", "Access Denied")
    return ask(request)
