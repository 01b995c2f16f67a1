"""The view of what jobs took."""

from musehub_pipeline.domain.result import TIMINGS
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_one


def test_each_done_job_is_one_flat_row_with_the_figures_of_its_result(hub: Hub) -> None:
    repo_id = hub.create_repo()
    done = hub.push(repo_id, small_history().mpack())
    hub.push(hub.create_repo("other"), small_history().mpack())
    result = index_one(hub, done)

    [row] = hub.sql("SELECT * FROM musehub_mpack_timings")

    assert list(row) == [
        *("job_id", "repo_id", "finished_at", "mpack_size_bytes", "elapsed_ms", *TIMINGS),
        *("attempt", "batch_jobs", "run_id"),
    ]
    assert row == {name: result[name] for name in row if name != "finished_at"} | {
        "finished_at": hub.job(done)["finished_at"]
    }


def test_a_figure_that_is_no_number_is_none_and_hides_no_other_row(hub: Hub) -> None:
    repo_id = hub.create_repo()
    for result in ('{"elapsed_ms": "12.5", "unpack_ms": 2, "batch_jobs": null}', "[]", "null"):
        job_id = hub.enqueue(repo_id)
        hub.sql(
            "UPDATE musehub_background_jobs SET status = 'done', result = %(result)s::jsonb"
            " WHERE job_id = %(id)s",
            {"result": result, "id": job_id},
        )

    rows = hub.sql("SELECT elapsed_ms, unpack_ms, batch_jobs FROM musehub_mpack_timings")

    nothing = {"elapsed_ms": None, "unpack_ms": None, "batch_jobs": None}
    assert sorted(rows, key=str) == sorted(
        [nothing | {"unpack_ms": 2.0}, nothing, nothing], key=str
    )
