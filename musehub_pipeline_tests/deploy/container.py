"""What a container is to a process: another root, read-only, another user, and no rights.

There is no image in it: its programs are this machine's, and the package is that of a wheel.
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musehub_pipeline_tests.servers.postgres import Postgres

ROOT = Path(__file__).parents[2]
USER = 10001
HOME = "/srv/musehub-pipeline"
PACKAGE = "/opt/musehub-pipeline"
PATH = f"{PACKAGE}/bin:{sys.prefix}/bin:/usr/bin:/bin:/usr/sbin"
SOCKET = ".s.PGSQL.5432"

# $1: an empty folder. $2: what is mounted where, a line each. $3: a user. The rest is the command.
_ENTER = r"""
set -eu
root=$1 mounts=$2
shift 2
mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir "$root/tmp"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
for path in /bin /lib /lib64 /sbin; do
    test ! -L "$path" || cp --no-dereference "$path" "$root$path"
done
echo "$mounts" | while read -r source target how; do
    if test -d "$source"; then
        mkdir -p "$root$target"
    else
        mkdir -p "$(dirname "$root$target")"
        test -e "$root$target" || touch "$root$target"
    fi
    mount --rbind "$source" "$root$target"
    test "$how" = rw || mount -o "remount,bind,$how" "$root$target"
done
mount -o remount,bind,ro "$root"
user=$1
shift
exec chroot "$root" setpriv --reuid="$user" --regid="$user" --clear-groups \
    --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


def build(folder: Path) -> Path:
    """Build a wheel and return the folder into which it was installed, without what it needs."""
    wheels, target = folder / "wheels", folder / "package"
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory"]
    subprocess.run([*build, str(wheels)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    [wheel] = wheels.iterdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--target", str(target), str(wheel)], check=True)
    return target


def seen_in_there(postgres: Postgres, url: str) -> str:
    """Return the URL of a database as a container has it."""
    return url.replace(str(postgres.folder), "/run/postgresql")


@dataclass(kw_only=True)
class Container:
    """How its processes find themselves; they share a home, and each has a /tmp of its own."""

    package: Path
    postgres: Postgres
    folder: Path
    environment: Mapping[str, str]
    files: Mapping[Path, str] = field(default_factory=dict)  # and where they are seen

    def __post_init__(self) -> None:
        for name in ("home", "run", "root"):
            (self.folder / name).mkdir(parents=True)
        shutil.chown(self.folder / "home", USER, USER)

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.Popen[str]:
        """Start a command; its process is the one that is returned."""
        mounts = [
            *((path, path, "ro") for path in ("/etc", "/usr", "/proc", "/sys")),
            *((path, path, "ro") for path in (sys.base_prefix, sys.prefix)),
            *((path, path, "rw") for path in ("/dev/null", "/dev/urandom", "/dev/zero")),
            (self.package, PACKAGE, "ro"),
            (self.postgres.folder / SOCKET, f"/run/postgresql/{SOCKET}", "rw"),
            (self.folder / "home", HOME, "rw"),
            *((path, target, "ro") for path, target in self.files.items()),
        ]
        lines = "\n".join(" ".join(map(str, mount)) for mount in mounts)
        enter = ["unshare", "--mount", "sh", "-c", _ENTER, "sh", str(self.folder / "root"), lines]
        return subprocess.Popen(
            [*enter, str(USER), *command],
            env={"PATH": PATH, "PYTHONPATH": PACKAGE, "MUSEHUB_HOME": HOME}
            | dict(self.environment)
            | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            **options,
        )

    def run(self, *command: str, environment: Mapping[str, str] | None = None) -> str:
        """Run a command to its end, which is a good one, and return what it printed."""
        process = self.start(command, environment=environment, stdout=subprocess.PIPE)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, (command, process.returncode, out)
        return out
