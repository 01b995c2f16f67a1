"""The real pooler of the tests: PgBouncer, from Debian's package, in front of a PostgreSQL."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

from sqlalchemy import make_url

from musehub_pipeline_tests.servers import debian
from musehub_pipeline_tests.servers.certificate import certify
from musehub_pipeline_tests.servers.postgres import Postgres

Mode = Literal["session", "transaction"]

_START_SECONDS = 60
_PORT = 5432
_CONFIGURATION = """\
[databases]
* = host={server}

[pgbouncer]
pool_mode = {mode}
default_pool_size = {connections}
unix_socket_dir = {folder}
listen_port = {port}
auth_type = trust
auth_file = {folder}/users
pidfile = {folder}/pid
logfile = {folder}/log
{more}
"""


class PgBouncer:
    """Run a PgBouncer on a Unix socket while the `with` block lasts, as its package configures it.

    It lends as many `connections` for each pair of database and user; `more` are its own settings.
    With a `tls_port` it also listens there, and takes nobody without TLS.
    """

    def __init__(
        self,
        server: Postgres,
        *,
        mode: Mode,
        connections: int = 10,
        users: Sequence[str] = ("postgres",),
        tls_port: int | None = None,
        **more: str,
    ) -> None:
        self._server = server
        self._users = users
        self._tls_port = tls_port
        self._port = tls_port or _PORT
        self._mode, self._connections, self._more = mode, connections, more
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        program = debian.program("pgbouncer")
        self._folder = Path(tempfile.mkdtemp(prefix="pool-", dir=self._server.folder.parent))
        (self._folder / "users").write_text("".join(f'"{user}" ""\n' for user in self._users))
        configuration = self._folder / "pgbouncer.ini"
        more = self._more | (self._tls() if self._tls_port else {})
        configuration.write_text(
            _CONFIGURATION.format(
                server=self._server.folder,
                folder=self._folder,
                mode=self._mode,
                connections=self._connections,
                port=self._port,
                more="\n".join(f"{name} = {value}" for name, value in more.items()),
            )
        )
        command = [program, "--quiet", str(configuration)]
        self._process = debian.start(command, folder=self._folder)
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def url(self, database_url: str) -> str:
        """Return the URL of a database of the server, by way of the pooler."""
        url = make_url(database_url).update_query_dict({"host": str(self._folder)})
        return url.render_as_string(hide_password=False)

    def tls_url(self, database_url: str, **query: str) -> str:
        """Return that URL by way of the port that takes TLS only."""
        url = make_url(database_url).set(host="127.0.0.1", port=self._tls_port, query=query)
        return url.render_as_string(hide_password=False)

    @property
    def certificate(self) -> Path:
        """The certificate of that port, which no authority has signed."""
        return self._folder / "certificate"

    def _tls(self) -> dict[str, str]:
        key = self._folder / "key"
        certify(self.certificate, key)
        return {
            "listen_addr": "127.0.0.1",
            "client_tls_sslmode": "require",
            "client_tls_key_file": str(key),
            "client_tls_cert_file": str(self.certificate),
        }

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        path = str(self._folder / f".s.PGSQL.{self._port}")
        while True:
            with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(path)
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = self._folder / "log"
                said = log.read_text() if log.exists() else "nothing"
                msg = f"PgBouncer did not start: {said}"
                raise RuntimeError(msg)
            time.sleep(0.01)

    def _stop(self) -> None:
        assert self._process is not None
        self._process.kill()  # there is nothing worth keeping
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
