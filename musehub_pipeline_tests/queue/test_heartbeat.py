"""The heartbeat: a run that lives keeps its jobs, however long it takes."""

import time

import pytest

from musehub_pipeline.domain.result import Outcome
from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.phases.claim_jobs import claim_jobs
from musehub_pipeline.phases.pipeline import PHASES
from musehub_pipeline.phases.services import Services, open_services
from musehub_pipeline.phases.summarize import summarize
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.live_runs import KnownRun, Runs
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.queue.queueing import expire

HISTORY = small_history()
MPACK = HISTORY.mpack()
*_, LAST = HISTORY.commits


@pytest.fixture
def brief(settings: Settings) -> Settings:
    return settings.model_copy(update={"lease_seconds": 1})


@pytest.mark.slow
def test_a_run_that_takes_longer_than_a_lease_still_publishes(brief: Settings) -> None:
    hub = Hub(brief)
    job_id = hub.push(hub.create_repo(), MPACK)

    with open_services(brief) as services:
        batch = claim_jobs(services, run_id="slow")
        time.sleep(2.5)
        assert services.queue.claim(run_id="other", limit=10) == []
        for phase in PHASES:
            batch = phase(batch, services)
        summarize(batch, services)

    assert hub.job(job_id)["status"] == "done"
    assert hub.job(job_id)["attempt"] == 1


def test_a_run_that_is_stopped_gives_everything_back_and_no_attempt_is_spent(hub: Hub) -> None:
    job_id = hub.push(hub.create_repo(), MPACK)
    before = hub.job(job_id)

    with open_services(hub.settings) as services:
        claim_jobs(services, run_id="stopped")
        assert hub.job(job_id)["status"] == "running"

    assert hub.job(job_id) == before


def test_a_run_that_ends_wakes_who_waits_for_jobs(hub: Hub) -> None:
    with open_services(hub.settings) as watcher, watcher.queue.notices() as wait:
        with open_services(hub.settings) as services:
            claim_jobs(services, run_id="over")
            assert not wait(0.05)

        assert wait(10)


@pytest.mark.slow
def test_a_run_without_a_heartbeat_keeps_nothing(brief: Settings) -> None:
    hub = Hub(brief)
    job_id = hub.push(hub.create_repo(), MPACK)
    with open_services(brief) as services:
        services.queue.claim(run_id="dead", limit=10)

        time.sleep(1.5)

        services.queue.rescue()
        [lease] = services.queue.claim(run_id="next", limit=10)
    assert (lease.claim.job_id, lease.claim.attempt) == (job_id, 2)


@pytest.mark.slow
def test_a_run_is_alive_from_its_claim_until_a_lease_after_its_end(brief: Settings) -> None:
    with Database(str(brief.database_url)) as database:
        runs = Runs(database, lease=brief.lease)
        assert runs.known(["unheard"]) == {"unheard": KnownRun(alive=True, claimed=False)}
        with open_services(brief) as services:
            claim_jobs(services, run_id="run")
            time.sleep(1.5)
            assert runs.known(["run", "unheard"]) == {
                "run": KnownRun(alive=True, claimed=True),
                "unheard": KnownRun(alive=False, claimed=False),
            }

        assert runs.known(["run"]) == {"run": KnownRun(alive=True, claimed=True)}
        time.sleep(1.5)
        assert runs.known(["run"]) == {"run": KnownRun(alive=False, claimed=True)}


def written(services: Services, run_id: str) -> Batch:
    """Claim as a run, and write all that there is to write, but publish nothing."""
    batch = claim_jobs(services, run_id=run_id)
    for phase in PHASES:
        batch = phase(batch, services)
    return batch


def test_a_run_that_lost_its_lease_publishes_nothing(brief: Settings) -> None:
    hub = Hub(brief)
    repo_id = hub.create_repo()
    job_id = hub.push(repo_id, MPACK, head=LAST)

    with open_services(brief) as services:
        batch = written(services, "first")
        expire(hub, job_id)
        services.queue.rescue()
        services.queue.claim(run_id="second", limit=10)
        ended = summarize(batch, services)

    assert [str(item.error and item.error.code) for item in ended.items] == ["LEASE_LOST"]
    job = hub.job(job_id)
    assert (job["status"], job["run_id"], job["attempt"]) == ("running", "second", 2)
    assert hub.head(repo_id) is None


@pytest.mark.slow
def test_a_run_that_lost_one_of_its_leases_publishes_the_other_jobs(hub: Hub) -> None:
    repos = [hub.create_repo(slug) for slug in "abc"]
    jobs = [hub.push(repo_id, MPACK, head=LAST) for repo_id in repos]

    with open_services(hub.settings) as services:
        batch = written(services, "first")
        expire(hub, jobs[1])
        services.queue.rescue()
        services.queue.claim(run_id="second", limit=10)
        lost = hub.job(jobs[1])
        ended = summarize(batch, services)

    assert (lost["status"], lost["run_id"], lost["attempt"]) == ("running", "second", 2)
    assert hub.job(jobs[1]) == lost
    assert [item.outcome for item in ended.items] == [Outcome.DONE, Outcome.LOST, Outcome.DONE]
    assert [hub.job(job_id)["status"] for job_id in jobs] == ["done", "running", "done"]
    assert [hub.head(repo_id) for repo_id in repos] == [LAST, None, LAST]


@pytest.mark.slow
def test_a_run_whose_heartbeats_fail_notes_it_and_publishes_nothing(
    brief: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    hub = Hub(brief)
    repo_id = hub.create_repo()
    job_id = hub.push(repo_id, MPACK, head=LAST)
    before = hub.job(job_id)

    with open_services(brief) as services:
        batch = written(services, "unheard")
        hub.sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN RAISE 'no heartbeat today'; END $$"
        )
        hub.sql(
            "CREATE TRIGGER refuse BEFORE UPDATE ON musehub_pipeline_runs"
            " FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        time.sleep(1.5)
        ended = summarize(batch, services)
        hub.sql("DROP FUNCTION refuse CASCADE")

    assert [item.outcome for item in ended.items] == [Outcome.LOST]
    assert [str(item.error and item.error.code) for item in ended.items] == ["LEASE_LOST"]
    assert hub.job(job_id) == before
    assert hub.head(repo_id) is None
    [heartbeat, *_] = [r for r in caplog.records if r.name == "musehub_pipeline.heartbeat"]
    assert heartbeat.levelname == "WARNING"
    assert heartbeat.getMessage().startswith(
        "run unheard: its leases could not be renewed: no heartbeat today"
    )
