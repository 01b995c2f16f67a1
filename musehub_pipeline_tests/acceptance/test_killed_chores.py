"""Runs that hold no push are killed: none of them stays at work for ever either."""

from functools import partial
from typing import Any

from musehub_pipeline_tests.acceptance.aftermath import SLOW_SECONDS, TICK_SECONDS
from musehub_pipeline_tests.acceptance.dev import LEASE_SECONDS, RUN, Dev
from musehub_pipeline_tests.acceptance.gate import Gate

LOCATION = {
    "repositoryName": "__repository__",
    "repositoryLocationName": "musehub_pipeline",
}
PRUNING = {"jobName": "prune_history"}
CHECK = {  # as the UI's button for it asks
    "pipelineName": "__ASSET_JOB",
    "assetSelection": [],
    "assetCheckSelection": [
        {"assetKey": {"path": ["musehub", "mpack_index"]}, "name": "phase_budgets"}
    ],
}
OPS = ("prune", "musehub__mpack_index_phase_budgets")

_LAUNCH = """
    mutation ($selector: JobOrPipelineSelector!) {
        launchRun(executionParams: {selector: $selector, mode: "default", runConfigData: "{}"}) {
            __typename ... on LaunchRunSuccess { run { runId } }
            ... on PythonError { message stack }
        }
    }
"""
_STATUS = """
    query ($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }
"""


def launch(dev: Dev, selector: dict[str, Any]) -> str:
    answer = dev.ask(_LAUNCH, selector=LOCATION | selector)["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return answer["run"]["runId"]


def has_status(dev: Dev, run_id: str, status: str) -> bool:
    return dev.ask(_STATUS, run=run_id)["runOrError"]["status"] == status


def stands(gate: Gate, number: int) -> bool:
    return gate.waiting() == number


def test_pruning_and_a_check_by_hand_that_are_killed_are_ended(warm: Dev) -> None:
    with Gate(warm.dagster_database_url) as gate:
        gate.stand_before_ops(OPS)
        for number, selector in enumerate((PRUNING, CHECK), start=1):
            killed = launch(warm, selector)
            warm.wait(partial(stands, gate, number), seconds=180)
            warm.kill(RUN)  # within a lease: who stands for longer has said nothing, and is ended
            warm.wait(
                partial(has_status, warm, killed, "FAILURE"),
                seconds=LEASE_SECONDS + TICK_SECONDS + SLOW_SECONDS,
            )

    # What nobody kills goes well.
    for selector in (PRUNING, CHECK):
        run_id = launch(warm, selector)
        warm.wait(partial(has_status, warm, run_id, "SUCCESS"), seconds=180)
