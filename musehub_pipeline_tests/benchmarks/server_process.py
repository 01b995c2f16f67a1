"""S3 servers in processes of their own: what is measured shares no interpreter with them."""

import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from musehub_pipeline_tests.servers.moto import MotoS3, S3Server


class ServerProcess(S3Server):
    """Run a module that prints its endpoint and serves until its input ends."""

    _process: subprocess.Popen[bytes]

    def __init__(self, module: str, arguments: Sequence[str] = ()) -> None:
        self._command = [sys.executable, "-m", module, *arguments]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.endpoint_url = self._process.stdout.readline().decode().strip()
        if not self.endpoint_url:
            msg = f"{' '.join(self._command)} did not start"
            raise RuntimeError(msg)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()


class MotoProcess(ServerProcess):
    """Run moto."""

    def __init__(self) -> None:
        super().__init__(__name__)


if __name__ == "__main__":
    with MotoS3() as moto:
        print(moto.endpoint_url, flush=True)
        sys.stdin.buffer.read()
