"""A way to an S3 server that fails as a test says: its server stays, what it answers does not."""

import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from time import sleep
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from musehub_pipeline_tests.servers.moto import REGION, S3Server

Headers = Mapping[str, str]
"""Names in lower case."""

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: what is left is thrown away, and a RST is sent
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the client asks for; `path` is /bucket/key, with its query."""

    method: str
    path: str
    headers: Headers
    body: bytes = field(repr=False)

    def is_for(self, method: str, part: str) -> bool:
        return self.method == method and part in self.path


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the client gets: all of the body, or `cut_at` bytes of it and then the connection's end.

    With a `pause`, in seconds, it comes in ten pieces.
    """

    status: int
    headers: Headers = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    cut_at: int | None = None
    reset: bool = False
    pause: float = 0.0


Ask = Callable[[Request], Reply]
Fault = Callable[[Request, Ask], Reply | None]
"""Answers a request, by asking the server for it or not; None is the connection's end."""


class FaultyS3(S3Server):
    """Leads to an S3 server while the `with` block lasts; `fault` may be changed meanwhile."""

    def __init__(self, server: S3Server, fault: Fault) -> None:
        self.access_key, self.secret_key = server.access_key, server.secret_key
        self.fault = fault
        self.asked: list[Request] = []
        self._server = server
        self._listener = _Listener(self)
        self.endpoint_url = f"http://127.0.0.1:{self._listener.server_port}"

    def __enter__(self) -> Self:
        Thread(target=self._listener.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.shutdown()
        self._listener.server_close()

    def answer(self, request: Request) -> Reply | None:
        self.asked.append(request)
        return self.fault(request, self._ask)

    def signed(self, request: Request) -> Request:
        """Return a request whose headers were changed, signed again."""
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        unsigned = ("authorization", "host", "x-amz-date", "x-amz-content-sha256")
        headers = {name: text for name, text in request.headers.items() if name not in unsigned}
        signing = AWSRequest(
            request.method, self._server.endpoint_url + request.path, headers, request.body
        )
        credentials = Credentials(self.access_key, self.secret_key)
        S3SigV4Auth(credentials, "s3", REGION).add_auth(signing)
        signed = {name.lower(): text for name, text in signing.headers.items()}
        host = urlsplit(self._server.endpoint_url).netloc
        return replace(request, headers={**signed, "host": host})

    def _ask(self, request: Request) -> Reply:
        connection = HTTPConnection(urlsplit(self._server.endpoint_url).netloc, timeout=30)
        try:
            # The client has signed the host: it stays what it was.
            connection.putrequest(
                request.method, request.path, skip_host=True, skip_accept_encoding=True
            )
            for name, text in request.headers.items():
                connection.putheader(name, text)
            connection.endheaders(request.body)
            reply = connection.getresponse()
            headers = {name.lower(): text for name, text in reply.getheaders()}
            kept = {name: text for name, text in headers.items() if name not in _HOP_BY_HOP}
            return Reply(status=reply.status, headers=kept, body=reply.read())
        finally:
            connection.close()


class _Listener(ThreadingHTTPServer):
    request_queue_size = 128  # as many as may connect at once

    def __init__(self, proxy: FaultyS3) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients go when they like."""


class _Handler(BaseHTTPRequestHandler):
    server: _Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self) -> None:
        headers = {name.lower(): text for name, text in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        request = Request(method=self.command, path=self.path, headers=headers, body=body)
        if (reply := self.server.proxy.answer(request)) is None:
            self.reset()
        else:
            self.send(reply)

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815

    def send(self, reply: Reply) -> None:
        self.send_response_only(reply.status)
        length = reply.headers.get("content-length", str(len(reply.body)))
        for name, text in {**reply.headers, "content-length": length}.items():
            self.send_header(name, text)
        self.end_headers()
        body = b"" if self.command == "HEAD" else reply.body[: reply.cut_at]
        size = len(body) // 10 + 1 if reply.pause else len(body) or 1
        for start in range(0, len(body), size):
            sleep(reply.pause)
            self.wfile.write(body[start : start + size])
        self.close_connection = reply.cut_at is not None
        if reply.reset:
            self.reset()

    def reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.rfile.close()  # it holds the connection open
        self.connection.close()

    def log_message(self, *_: object) -> None:
        pass


def sound(request: Request, ask: Ask) -> Reply:
    """Answer as the server does."""
    return ask(request)


class First:
    """Lets `fault` answer the first `left` requests that are `bad`, and the server all others."""

    def __init__(self, left: int, bad: Callable[[Request], bool], fault: Fault) -> None:
        self.left = left
        self._bad = bad
        self._fault = fault
        self._lock = Lock()

    def __call__(self, request: Request, ask: Ask) -> Reply | None:
        with self._lock:
            failing = self.left > 0 and self._bad(request)
            self.left -= failing
        return self._fault(request, ask) if failing else ask(request)
