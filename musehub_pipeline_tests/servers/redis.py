"""The real Redis of the tests, from Debian's package."""

import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis as Client
from redis.exceptions import RedisError

from musehub_pipeline_tests.servers import debian

_START_SECONDS = 60


class Redis:
    """Run a Redis on a Unix socket while the `with` block lasts; it writes nothing to disk."""

    def __enter__(self) -> Self:
        program = debian.program("redis-server")
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        socket = self._folder / "socket"
        command = [program, "--port", "0", "--unixsocket", str(socket), "--save", ""]
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "KILL", *command]
        self._process = subprocess.Popen(
            command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        self.client = Client(unix_socket_path=str(socket))
        self.url = f"redis+socket://{socket}"
        self._wait_until_ready()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.client.close()
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def freeze(self) -> None:
        """Have it answer no more, and refuse nobody."""
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """Have it gone at once."""
        self._process.kill()
        self._process.wait()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.client.ping()
            except RedisError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise
                time.sleep(0.02)
            else:
                return
