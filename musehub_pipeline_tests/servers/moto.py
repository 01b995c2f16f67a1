"""The quick S3 server of the tests: moto, in a thread of this process.

It checks neither signatures nor expiry and says nothing about speed; where that matters, the
tests use `ceph.CephS3`, which has the same interface.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

if TYPE_CHECKING:
    from moto.server import ThreadedMotoServer

REGION = "us-east-1"


class S3Server:
    """An S3 endpoint on this machine and the credentials of its one user."""

    endpoint_url: str = ""
    access_key: str = "test-access-key"
    secret_key: str = "test-secret-key"

    def client(self) -> Any:
        """Return a boto3 client that signs with this server's credentials and never retries."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=REGION,
            config=Config(
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 1},
                connect_timeout=5,
                read_timeout=30,
                proxies={},
            ),
        )

    def create_bucket(self, name: str) -> None:
        client = self.client()
        try:
            client.create_bucket(Bucket=name)
        finally:
            client.close()

    def aws_environment(self) -> dict[str, str]:
        """Return the variables with which any S3 client of the environment's finds this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


class MotoS3(S3Server):
    """Run moto on a free loopback port while the `with` block lasts.

    Its buckets belong to the process and outlast the server, so give each test names of its own.
    """

    _server: "ThreadedMotoServer"
    _werkzeug_level: int

    def __enter__(self) -> Self:
        from moto.server import ThreadedMotoServer

        werkzeug = logging.getLogger("werkzeug")
        self._werkzeug_level = werkzeug.level
        werkzeug.setLevel(logging.ERROR)  # it logs every request at INFO
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint_url = f"http://{host}:{port}"
        return self

    @contextmanager
    def requests_at_a_time(self) -> Iterator[list[int]]:
        """Note for each request that comes during the block how many are under way with it."""
        server = cast("Any", self._server)._server
        app, lock, under_way = server.app, Lock(), set[object]()
        noted: list[int] = []

        def noting(environ: Any, start_response: Any) -> Any:
            request = object()
            with lock:
                under_way.add(request)
                noted.append(len(under_way))
            try:
                return app(environ, start_response)
            finally:
                with lock:
                    under_way.remove(request)

        server.app = noting
        try:
            yield noted
        finally:
            server.app = app

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.stop()
        logging.getLogger("werkzeug").setLevel(self._werkzeug_level)
