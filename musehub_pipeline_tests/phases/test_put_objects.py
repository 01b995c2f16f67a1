"""The bytes of objects are on disk before any row names them."""

import errno
import os
from pathlib import Path

import pytest

from musehub_pipeline.domain.errors import JobNotDone
from musehub_pipeline.objects import storage
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.test_index_mpacks import assert_index_holds

HISTORY = small_history()
*_, LAST = HISTORY.commits


@pytest.mark.slow
def test_what_the_disk_does_not_take_is_named_by_no_row(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo_id = hub.create_repo()
    job_id = hub.push(repo_id, HISTORY.mpack(), head=LAST)

    def broken_disk(folder: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(folder))

    with monkeypatch.context() as disk:
        disk.setattr(storage, "sync_filesystem", broken_disk)
        with pytest.raises(JobNotDone, match="STORAGE_UNAVAILABLE"):
            hub.index(job_id)

    row = hub.job(job_id)
    assert (row["status"], row["attempt"]) == ("pending", 1)
    assert row["error_code"] == "STORAGE_UNAVAILABLE"
    assert ": sync: [Errno 5] Input/output error: " in row["error"]
    assert set(hub.counts().values()) == {0}

    assert hub.index(job_id)["attempt"] == 2

    assert_index_holds(hub, repo_id, HISTORY)
    assert hub.head(repo_id) == LAST
