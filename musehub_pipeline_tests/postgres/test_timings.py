"""The view of what jobs took."""

from musehub_pipeline.domain.result import TIMINGS
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub


def test_each_done_job_is_one_flat_row_with_the_figures_of_its_result(hub: Hub) -> None:
    repo_id = hub.create_repo()
    done = hub.push(repo_id, small_history().mpack())
    hub.push(hub.create_repo("other"), small_history().mpack())
    result = hub.index(done)

    [row] = hub.sql("SELECT * FROM musehub_mpack_timings")

    assert list(row) == [
        *("job_id", "repo_id", "finished_at", "mpack_size_bytes", "elapsed_ms", *TIMINGS),
        *("attempt", "batch_jobs", "run_id"),
    ]
    assert row == {name: result[name] for name in row if name != "finished_at"} | {
        "finished_at": hub.job(done)["finished_at"]
    }
