"""The memory of a whole run: how much more a large mpack takes.

As a module it is the run: ``python -m musehub_pipeline_tests.benchmarks.memory JOB`` indexes a job
through Dagster, with the settings of the environment, and prints its peak in bytes.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from musehub_pipeline import process_mpack_index_job
from musehub_pipeline_tests.benchmarks.bench import Bench, push, upload
from musehub_pipeline_tests.benchmarks.figures import MIB, Figure, excess, interleave
from musehub_pipeline_tests.benchmarks.mpacks import Mpack, mixed
from musehub_pipeline_tests.peak import peak_bytes

_RUNS = 3
_LIMIT_MIB = 96


def memory(bench: Bench) -> Iterator[Figure]:
    """Compare the peaks of two processes, one with 1 GB and one with 10 MB to index."""
    small, large = bench.mpack(mixed(bench.some(10))), bench.mpack(mixed(bench.some(1_000)))
    what = f"{large.size_bytes / 1e6:,.0f} MB, over {small.size_bytes / 1e6:,.0f} MB; peak RSS"
    for name, on_s3 in (("directory", False), ("s3", True)):
        pairs = interleave(
            lambda on_s3=on_s3: peak_mib(bench, large, on_s3=on_s3),
            lambda on_s3=on_s3: peak_mib(bench, small, on_s3=on_s3),
            runs=min(bench.runs, _RUNS),
            warm_up=False,
        )
        yield excess(f"memory_{name}", what, pairs, unit="MiB", limit=_LIMIT_MIB)


def peak_mib(bench: Bench, mpack: Mpack, *, on_s3: bool) -> float:
    """Return the peak of the resident set of a process that indexes the first push of an mpack."""
    with (
        bench.light_s3() if on_s3 else nullcontext() as s3,
        bench.database() as database_url,
    ):
        settings = bench.settings(database_url, s3=s3)
        upload(settings, s3, mpack)
        environment = {
            **{name: text for name, text in os.environ.items() if name != "DAGSTER_HOME"},
            **(s3.aws_environment() if s3 is not None else {}),
            "MUSEHUB_DATABASE_URL": database_url,
            "MUSEHUB_STORAGE_URL": str(settings.storage_url),
            "MUSEHUB_SCRATCH_DIR": str(settings.scratch_dir),
        }
        command = [sys.executable, "-m", __name__, push(database_url, mpack)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        if s3 is None:  # a gigabyte a run; nothing that is measured afterwards creates files
            shutil.rmtree(Path(str(settings.storage_url).removeprefix("file://")))
        return int(done.stdout) / MIB


if __name__ == "__main__":
    process_mpack_index_job(sys.argv[1])
    print(peak_bytes())
