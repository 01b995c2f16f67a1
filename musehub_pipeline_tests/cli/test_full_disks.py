"""A store whose disk is full: a small one of its own, that nobody else sees."""

import os
import subprocess
from pathlib import Path

import pytest

from musehub_pipeline import local
from musehub_pipeline_tests.cli.terminal import PROGRAM
from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub

# $1: the store. $2: an empty folder. $3: the program.
SCRIPT = r"""
set -eu
cp -r "$1/mpacks" "$2"
mount -t tmpfs -o size=1m tmpfs "$1"
cp -r "$2/mpacks" "$1"
"$3" index
mount -o remount,size=16m "$1"
sleep 0.5
"$3" index
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")
def test_a_push_waits_until_a_store_that_is_full_has_room(hub: Hub, tmp_path: Path) -> None:
    history = History()
    head = history.commit({"tune": os.urandom(700_000)})
    job_id = hub.push(hub.create_repo(), history.mpack(), head=head)
    soon = {"retry_base_seconds": 0.05, "retry_cap_seconds": 0.1}
    environment = os.environ | local.environment(hub.settings.model_copy(update=soon))
    store = str(hub.settings.storage_url).removeprefix("file://")

    subprocess.run(
        ["unshare", "--mount", "sh", "-c", SCRIPT, "sh", store, tmp_path, PROGRAM],
        env=environment,
        check=True,
    )

    row = hub.job(job_id)
    [first, second] = row["attempts"]
    assert (row["status"], first["code"], second["code"]) == ("done", "STORAGE_UNAVAILABLE", None)
    assert "No space left on device" in first["message"]
