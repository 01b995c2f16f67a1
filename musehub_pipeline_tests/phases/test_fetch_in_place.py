"""An mpack in a directory is read where it lies: nobody who writes to it gets anything past."""

import pytest

from musehub_pipeline.phases.claim_jobs import claim_jobs
from musehub_pipeline.phases.pipeline import PHASES
from musehub_pipeline.phases.services import open_services
from musehub_pipeline.phases.summarize import summarize
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.test_index_mpacks import assert_index_holds

HISTORY = small_history()
*_, LAST = HISTORY.commits


@pytest.mark.slow
def test_one_that_is_overwritten_after_it_was_unpacked_is_tried_again(hub: Hub) -> None:
    mpack = HISTORY.mpack()
    repo = hub.create_repo()
    job_id = hub.push(repo, mpack, head=LAST)
    [row] = hub.sql("SELECT payload ->> 'mpack_key' AS mpack FROM musehub_background_jobs")
    hub.date_mpack(row["mpack"], settled=True)
    path = hub.mpack_file(row["mpack"])

    with open_services(hub.settings) as services:
        batch = claim_jobs(services, run_id="run")
        for phase in PHASES:
            batch = phase(batch, services)
            if phase.__name__ == "unpack":
                path.write_bytes(mpack.replace(b"a", b"b"))
        summarize(batch, services)

    job = hub.job(job_id)
    assert (job["status"], job["attempts"][-1]["code"]) == ("pending", "STORAGE_UNAVAILABLE")
    assert hub.counts()["snapshots"] == hub.counts()["commits"] == 0
    assert hub.stored_objects() == {}

    path.write_bytes(mpack)
    hub.index(job_id)
    assert_index_holds(hub, repo, HISTORY)
