"""An S3 server that does next to nothing itself, so that what is measured is its client.

A gateway such as Ceph's takes a few hundred small puts a second on the cores that it shares with
the client, whoever the client is. This one keeps objects in memory, serves the files that lie in
its folder, checks no signature, and knows no more than puts, gets and heads. It runs in a process
of its own: ``python -m musehub_pipeline_tests.benchmarks.light_s3 FOLDER``.
"""

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from musehub_pipeline_tests.benchmarks.server_process import ServerProcess

_END = b"\r\n\r\n"
_DATE = b"Mon, 05 Jan 2026 08:00:00 GMT"
_ETAG = b'"00000000000000000000000000000000"'


class LightS3(ServerProcess):
    """Run the server while the `with` block lasts; `folder` is what it serves besides."""

    def __init__(self, folder: Path) -> None:
        super().__init__(__name__, [str(folder)])
        self.folder = folder

    def create_bucket(self, name: str) -> None:
        (self.folder / name).mkdir(exist_ok=True)

    def serve(self, path: Path, url: str) -> None:
        """Serve a file as ``s3://bucket/key`` without copying it."""
        link(path, self.folder / url.removeprefix("s3://"))


def link(path: Path, place: Path) -> None:
    """Let a file appear at another place, too."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.hardlink_to(path)


class _Connection(asyncio.Protocol):
    """One client: requests come one after the other, each with a Content-Length or without body."""

    def __init__(self, folder: Path, objects: dict[str, bytes]) -> None:
        self._folder = folder
        self._objects = objects
        self._received = bytearray()
        self._needed = 0
        self._request: tuple[bytes, str, bytes] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._request is None:
            end = self._received.find(_END)
            if end < 0:
                return
            head = bytes(self._received[:end])
            del self._received[: end + len(_END)]
            method, target, _ = head.split(b" ", 2)
            headers = head.lower()
            self._request = (method, unquote(target.split(b"?")[0].decode()).lstrip("/"), headers)
            self._needed = int(_header(headers, b"content-length") or 0)
            if _header(headers, b"expect"):
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if len(self._received) >= self._needed:
            body = bytes(self._received[: self._needed])
            del self._received[: self._needed]
            method, key, headers = self._request
            self._request = None
            self._answer(method, key, headers, body)

    def _answer(self, method: bytes, key: str, headers: bytes, body: bytes) -> None:
        if method == b"PUT":
            if key in self._objects and _header(headers, b"if-none-match"):
                self._reply(b"412 Precondition Failed", 0)
            else:
                self._objects[key] = body
                self._reply(b"200 OK", 0)
        elif method not in {b"GET", b"HEAD"}:
            self._reply(b"501 Not Implemented", 0)
        elif (content := self._objects.get(key)) is not None:
            self._reply(b"200 OK", len(content), content if method == b"GET" else b"")
        elif (path := self._folder / key).is_file():
            self._reply(b"200 OK", path.stat().st_size)
            if method == b"GET":
                self._send_file(path)
        else:
            self._reply(b"404 Not Found", 0)

    def _reply(self, status: bytes, length: int, content: bytes = b"") -> None:
        self._transport.write(
            b"HTTP/1.1 %s\r\nETag: %s\r\nLast-Modified: %s\r\nContent-Length: %d\r\n\r\n%s"
            % (status, _ETAG, _DATE, length, content)
        )

    def _send_file(self, path: Path) -> None:
        async def send() -> None:
            with path.open("rb") as file:
                await asyncio.get_running_loop().sendfile(self._transport, file)

        task = asyncio.ensure_future(send())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _header(head: bytes, name: bytes) -> bytes:
    _, found, rest = head.partition(b"\r\n" + name + b":")
    return rest.split(b"\r\n", 1)[0].strip() if found else b""


async def _serve(folder: Path) -> None:
    objects: dict[str, bytes] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(folder, objects), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    async with server:
        await loop.run_in_executor(None, sys.stdin.buffer.read)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(Path(sys.argv[1])))
