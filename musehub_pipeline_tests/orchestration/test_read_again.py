"""One bad read is no verdict: a missing or wrong mpack is read again before its push fails."""

from typing import Any

import obstore
import pytest

from musehub_pipeline import JobFailed
from musehub_pipeline_tests.factories import small_history
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all
from musehub_pipeline_tests.queue.queueing import change
from musehub_pipeline_tests.test_index_mpacks import assert_index_holds

HISTORY = small_history()
MPACK = HISTORY.mpack()
*_, LAST = HISTORY.commits
WRONG = MPACK[:-1] + b"?"

BACKDATED = """attempts = jsonb_set(attempts, '{0,ended_at}', to_jsonb(now() - interval '61 s')),
    not_before = now()"""
"""As if the first bad read had been a minute ago."""


@pytest.fixture
def patient_hub(hub: Hub) -> Hub:
    """A hub whose pipeline has the settings that operators have."""
    hub.create_repo()
    return Hub(hub.settings.model_copy(update={"read_again_seconds": 60}))


def spoil(hub: Hub, stored: bytes | None) -> str:
    """Push, and let storage have something else under the key, or nothing; return the job."""
    job_id = hub.push("repo-song", MPACK, head=LAST)
    key = f"mpacks/{hub.job(job_id)['payload']['mpack_key'][7:]}"
    if stored is None:
        hub.store.delete(key)
    else:
        obstore.put(hub.store, key, stored)
    return job_id


def standing(hub: Hub, job_id: str) -> tuple[Any, ...]:
    row = hub.job(job_id)
    return row["status"], row["attempt"], row["error_code"]


@pytest.mark.parametrize(
    ("stored", "code"), [(None, "MPACK_MISSING"), (WRONG, "MPACK_HASH_MISMATCH")]
)
def test_a_bad_read_is_tried_again_and_fails_the_push_after_a_minute(
    patient_hub: Hub, stored: bytes | None, code: str
) -> None:
    job_id = spoil(patient_hub, stored)

    index_all(patient_hub)

    assert standing(patient_hub, job_id) == ("pending", 1, code)
    row = patient_hub.job(job_id)
    [first] = row["attempts"]
    pause = (
        row["not_before"].timestamp()
        - patient_hub.sql(
            "SELECT extract(epoch FROM %(t)s::timestamptz)::float AS t", {"t": first["ended_at"]}
        )[0]["t"]
    )
    assert 19 < pause < 21

    change(patient_hub, job_id, BACKDATED)
    index_all(patient_hub)

    assert standing(patient_hub, job_id) == ("failed", 2, code)


def test_what_is_there_at_the_second_read_is_indexed(patient_hub: Hub) -> None:
    job_id = spoil(patient_hub, None)
    index_all(patient_hub)
    patient_hub.upload(MPACK)
    change(patient_hub, job_id, "not_before = now()")

    index_all(patient_hub)

    assert standing(patient_hub, job_id) == ("done", 2, None)
    assert_index_holds(patient_hub, "repo-song", HISTORY)


def test_other_trouble_does_not_shorten_the_minute(patient_hub: Hub) -> None:
    job_id = spoil(patient_hub, None)
    change(
        patient_hub,
        job_id,
        """attempt = 1, attempts = jsonb_build_array(jsonb_build_object('attempt', 1, 'code',
            'STORAGE_UNAVAILABLE', 'ended_at', now() - interval '1 hour'))""",
    )

    index_all(patient_hub)

    assert standing(patient_hub, job_id) == ("pending", 2, "MPACK_MISSING")


def test_after_other_trouble_one_bad_read_is_the_first_again(patient_hub: Hub) -> None:
    job_id = spoil(patient_hub, WRONG)
    change(
        patient_hub,
        job_id,
        """attempt = 2, attempts = jsonb_build_array(
            jsonb_build_object(
                'attempt', 1, 'code', 'MPACK_MISSING', 'ended_at', now() - interval '1 hour'
            ),
            jsonb_build_object('attempt', 2, 'code', 'STORAGE_UNAVAILABLE', 'ended_at', now())
        )""",
    )

    index_all(patient_hub)

    assert standing(patient_hub, job_id) == ("pending", 3, "MPACK_HASH_MISMATCH")

    change(patient_hub, job_id, "not_before = now()")
    index_all(patient_hub)

    assert standing(patient_hub, job_id) == ("pending", 4, "MPACK_HASH_MISMATCH")


def test_a_retry_by_an_operator_begins_a_new_minute(patient_hub: Hub) -> None:
    job_id = spoil(patient_hub, None)
    index_all(patient_hub)
    change(patient_hub, job_id, BACKDATED + ", attempts_forgiven = attempt")

    index_all(patient_hub)

    assert standing(patient_hub, job_id) == ("pending", 2, "MPACK_MISSING")


def test_whoever_waits_for_one_job_gets_its_verdict(hub: Hub) -> None:
    hub.create_repo()
    quick = Hub(hub.settings.model_copy(update={"read_again_seconds": 1.5}))
    job_id = spoil(quick, None)

    with pytest.raises(JobFailed) as caught:
        quick.index(job_id)

    assert caught.value.code == "MPACK_MISSING"
    codes = [attempt["code"] for attempt in quick.job(job_id)["attempts"]]
    assert codes in [["MPACK_MISSING"] * reads for reads in (2, 3, 4)]  # few on a slow machine
