"""A way to a PostgreSQL that breaks where a test says: its server stays, a connection is gone."""

import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Self

from sqlalchemy import make_url

_SOCKET = ".s.PGSQL.5432"
_BUFFER_BYTES = 1 << 20


class Cable:
    """Leads to the server of a database on a Unix socket while the `with` block lasts.

    The first statement that holds one of the texts in `breaks` is not let through: its connection
    is closed at both ends, and the text goes from the list to `broken`.
    """

    def __init__(self, database_url: str, folder: Path, *, breaks: Sequence[str]) -> None:
        url = make_url(database_url)
        self._server = str(Path(str(url.query["host"]), _SOCKET))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / _SOCKET))
        self._left = list(breaks)
        self.broken: list[str] = []
        self.url = url.set(query={"host": str(folder)}).render_as_string(hide_password=False)

    def __enter__(self) -> Self:
        self._listener.listen()
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # which wakes who accepts
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                Thread(target=self._ask, args=(client, server), daemon=True).start()
                Thread(target=_pass_on, args=(server, client), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, suppress(OSError):
            while (sent := client.recv(_BUFFER_BYTES)) and not self._breaks_at(sent):
                server.sendall(sent)
            for end in (client, server):
                end.shutdown(socket.SHUT_RDWR)

    def _breaks_at(self, sent: bytes) -> bool:
        for text in self._left:
            if text.encode() in sent:
                self._left.remove(text)
                self.broken.append(text)
                return True
        return False


def _pass_on(server: socket.socket, client: socket.socket) -> None:
    with suppress(OSError):
        while answer := server.recv(_BUFFER_BYTES):
            client.sendall(answer)
        client.shutdown(socket.SHUT_RDWR)
