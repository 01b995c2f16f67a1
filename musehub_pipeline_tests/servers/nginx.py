"""The real proxy of the tests: nginx, from Debian's package, with a site of the test's."""

import shutil
import socket
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from musehub_pipeline_tests.servers import debian

_START_SECONDS = 60
_CONFIGURATION = """\
daemon off;
master_process off;
pid pid;
events {}
http {
    access_log off;
    client_body_temp_path client;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include site;
}
"""


class Nginx:
    """Run an nginx while the `with` block lasts, in a folder with files by their names.

    The one called `site` is what it serves, on `port`, and names the others by relative paths.
    """

    def __init__(self, files: Mapping[str, str], *, port: int) -> None:
        self._files = {"nginx.conf": _CONFIGURATION, **files}
        self._port = port

    def __enter__(self) -> Self:
        program = debian.program("nginx")
        self._folder = Path(tempfile.mkdtemp(prefix="nginx-"))
        for name, text in self._files.items():
            (self._folder / name).write_text(text)
        configuration = self._folder / "nginx.conf"
        command = [program, "-e", "log", "-p", str(self._folder), "-c", str(configuration)]
        self._process = debian.start(command, folder=self._folder)
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port)):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = self._folder / "log"
                said = log.read_text() if log.exists() else "nothing"
                msg = f"nginx did not start: {said}"
                raise RuntimeError(msg)
            time.sleep(0.01)

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
