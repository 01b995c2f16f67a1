"""The real S3 server of the tests: Ceph's object gateway, a whole cluster on one node.

A monitor, one OSD that keeps everything in memory and `radosgw`, from Debian's packages. Nothing
of it outlives the tests: the kernel kills the daemons when the thread that started them ends, in
whatever way, so enter `CephS3` from the main thread.
"""

import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from musehub_pipeline_tests.servers.moto import REGION, S3Server

START_SECONDS = 180

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
PACKAGES = {
    "ceph": "ceph-mon",  # by way of ceph-common, as are radosgw-admin and ceph-authtool
    "ceph-mon": "ceph-mon",
    "ceph-osd": "ceph-osd",
    "radosgw": "radosgw",
    "setpriv": "util-linux",
}

CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
keyring = {folder}/keyring
run dir = {folder}
admin socket = {folder}/$name.sock
log file = {folder}/$name.log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 2000

[mon.a]
mon data = {folder}/mon
# A disk that is nearly full for its owner is no reason not to test.
mon data avail crit = 1
# The monitor holds every change of the cluster back for these seconds; at their defaults the
# dozen changes of a start take ten times as long as all the rest.
paxos propose interval = 0.02
paxos min wait = 0.01

[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296

[client.rgw.a]
# With authentication off there is no key to encrypt by, yet radosgw insists on encryption
# towards the monitor unless told otherwise, and then waits for ever.
ms mon client mode = crc
rgw data = {folder}
# tcp_nodelay: without it the kernel holds small answers back for 40 ms.
rgw frontends = beast endpoint=127.0.0.1:{s3_port} tcp_nodelay=1
rgw thread pool size = 64
rgw dynamic resharding = false
"""


def missing_packages() -> list[str]:
    """Name the Debian packages that `CephS3` needs and this machine lacks."""
    return sorted(
        {package for program, package in PACKAGES.items() if not shutil.which(program, path=PATH)}
    )


class CephS3(S3Server):
    """Run a one-node Ceph with an S3 gateway while the `with` block lasts.

    It takes two seconds to start and 4 GiB of objects at most, in memory.
    """

    _folder: Path

    def __init__(self) -> None:
        self._daemons: dict[str, subprocess.Popen[Any]] = {}
        self._deadline = 0.0

    def __enter__(self) -> Self:
        if packages := missing_packages():
            install = f"apt-get install --no-install-recommends {' '.join(packages)}"
            msg = f"Ceph is not installed: {install}"
            raise RuntimeError(msg)
        self._folder = Path(tempfile.mkdtemp(prefix="ceph-"))
        self._deadline = time.monotonic() + START_SECONDS
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def add_user(self, name: str) -> None:
        """Make a user who may do what a policy grants; both its keys are `name`."""
        self._deadline = time.monotonic() + START_SECONDS
        keys = (f"--access-key={name}", f"--secret={name}")
        self._run(
            "radosgw-admin", "user", "create", f"--uid={name}", f"--display-name={name}", *keys
        )

    def allow(self, name: str, policy: str) -> None:
        """Give a user a policy of its own."""
        import boto3

        keys = {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key}
        with closing(
            boto3.client("iam", endpoint_url=self.endpoint_url, region_name=REGION, **keys)
        ) as client:
            client.put_user_policy(UserName=name, PolicyName="only", PolicyDocument=policy)

    def _start(self) -> None:
        mon_port, s3_port = _free_ports(2)
        self.endpoint_url = f"http://127.0.0.1:{s3_port}"
        fsid, osd_id = str(uuid.uuid4()), str(uuid.uuid4())
        (self._folder / "ceph.conf").write_text(
            CONFIGURATION.format(fsid=fsid, folder=self._folder, mon_port=mon_port, s3_port=s3_port)
        )
        for name in ("mon", "osd"):
            (self._folder / name).mkdir()

        keyring, monmap = str(self._folder / "keyring"), str(self._folder / "monmap")
        self._run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.")
        address = f"[v2:127.0.0.1:{mon_port}]"
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, monmap)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        self._spawn("ceph-mon", "-f", "-i", "a")

        self._run("ceph", "osd", "new", osd_id)
        self._run("ceph", "osd", "crush", "add", "osd.0", "1", "root=default", "host=local")
        self._run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", osd_id)
        self._spawn("ceph-osd", "-f", "-i", "0")

        keys = (f"--access-key={self.access_key}", f"--secret={self.secret_key}")
        rights = "--caps=user-policy=*"  # to say what others may do
        self._run(
            "radosgw-admin", "user", "create", "--uid=test", "--display-name=test", rights, *keys
        )
        self._spawn("radosgw", "-f", "-n", "client.rgw.a")
        self._wait_for_s3()

    def _run(self, *command: str) -> None:
        """Run one command to its end."""
        seconds = max(self._deadline - time.monotonic(), 0.0)
        try:
            done = subprocess.run(
                command,
                **self._process_options(),
                capture_output=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise self._failure(
                f"{' '.join(command)} did not end within the {START_SECONDS} s of a start"
            ) from None
        if done.returncode:
            output = (done.stdout + done.stderr).decode(errors="replace").strip()
            raise self._failure(f"{' '.join(command)} failed with {done.returncode}: {output}")

    def _spawn(self, program: str, *arguments: str) -> None:
        """Start a daemon that the kernel kills when this thread ends."""
        with (self._folder / f"{program}.err").open("wb") as errors:
            self._daemons[program] = subprocess.Popen(
                ("setpriv", "--pdeathsig", "KILL", program, *arguments),
                **self._process_options(),
                stdout=errors,
                stderr=errors,
                process_group=0,  # Ctrl-C is for pytest, which then stops the daemons
            )

    def _process_options(self) -> dict[str, Any]:
        # Not this process's environment: `ceph` is a Python program of the system's own Python.
        return {
            "cwd": self._folder,
            "env": {
                "CEPH_CONF": str(self._folder / "ceph.conf"),
                "HOME": str(self._folder),
                "LC_ALL": "C.UTF-8",
                "PATH": PATH,
            },
            "stdin": subprocess.DEVNULL,
        }

    def _wait_for_s3(self) -> None:
        """Wait until a signed request is answered; the port is open well before that."""
        from botocore.exceptions import BotoCoreError, ClientError

        client = self.client()
        try:
            while True:
                try:
                    client.list_buckets()
                except (BotoCoreError, ClientError) as error:
                    self._check_alive(error)
                else:
                    return
                time.sleep(0.05)
        finally:
            client.close()

    def _check_alive(self, error: Exception) -> None:
        for program, daemon in self._daemons.items():
            if daemon.poll() is not None:
                raise self._failure(f"{program} ended with {daemon.returncode}") from error
        if time.monotonic() > self._deadline:
            raise self._failure(f"no S3 after {START_SECONDS} s: {error}") from error

    def _failure(self, what: str) -> RuntimeError:
        lines = [f"Ceph did not start: {what}"]
        for log in sorted((*self._folder.glob("*.log"), *self._folder.glob("*.err"))):
            tail = log.read_text(errors="replace").splitlines()[-15:]
            lines += [f"--- the end of {log.name}", *tail] if tail else []
        return RuntimeError("\n".join(lines))

    def _stop(self) -> None:
        # There is nothing worth flushing, so kill: the gateway first, it waits for the others.
        for daemon in reversed(self._daemons.values()):
            daemon.kill()
        for daemon in self._daemons.values():
            daemon.wait()
        self._daemons.clear()
        shutil.rmtree(self._folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [listener.getsockname()[1] for listener in sockets]
    finally:
        for listener in sockets:
            listener.close()
