"""Dagster's backfills of `backfill_mpacks`, asked for and looked at as the UI does it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from musehub_pipeline.orchestration.instance import OUR_TAGS
from musehub_pipeline_tests.acceptance.dev import Dev

_LAUNCH = """
    mutation ($parameters: LaunchBackfillParams!) {
      launchPartitionBackfill(backfillParams: $parameters) {
        __typename
        ... on LaunchBackfillSuccess { backfillId }
        ... on PythonError { message }
      }
    }
"""
_LOOK = """
    query ($backfill: String!) {
      partitionBackfillOrError(backfillId: $backfill) {
        ... on PartitionBackfill {
          status
          runs(limit: 1000) {
            runId
            status
            tags { key value }
            eventConnection {
              events {
                ... on ExecutionStepOutputEvent {
                  stepKey
                  metadataEntries { label ... on IntMetadataEntry { intValue } }
                }
              }
            }
          }
        }
      }
    }
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of a partition; its report has the whole numbers only.

    It is empty where the run has not come to its end, or has more than a page of events.
    """

    run_id: str
    day: str
    status: str
    report: dict[str, int]


class Backfills:
    """The backfills of a Dagster that runs."""

    def __init__(self, dev: Dev) -> None:
        self._dev = dev

    def launch(self, days: Sequence[date]) -> str:
        """Launch one over a partition each day, and return its id."""
        repository, location = OUR_TAGS[".dagster/repository"].split("@")
        parameters = {
            "selector": {
                "partitionSetName": "backfill_mpacks_partition_set",
                "repositorySelector": {
                    "repositoryName": repository,
                    "repositoryLocationName": location,
                },
            },
            "partitionNames": [day.isoformat() for day in days],
        }
        launched = self._dev.ask(_LAUNCH, parameters=parameters)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return launched["backfillId"]

    def finish(self, backfill: str, *, seconds: float) -> tuple[str, list[Run]]:
        """Wait until one ends; return its status, and its runs from the first day to the last."""
        self._dev.wait(lambda: self._look(backfill)["status"] in _ENDED, seconds=seconds)
        found = self._look(backfill)
        return found["status"], sorted(map(_run, found["runs"]), key=lambda run: run.day)

    def _look(self, backfill: str) -> dict[str, Any]:
        return self._dev.ask(_LOOK, backfill=backfill)["partitionBackfillOrError"]


_ENDED = {"COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED"}


def _run(found: dict[str, Any]) -> Run:
    tags = {tag["key"]: tag["value"] for tag in found["tags"]}
    [entries] = [
        event["metadataEntries"]
        for event in found["eventConnection"]["events"]
        if event.get("stepKey") == "report_backfill" and event["metadataEntries"]
    ] or [[]]
    return Run(
        run_id=found["runId"],
        day=tags["dagster/partition"],
        status=found["status"],
        report={entry["label"]: entry["intValue"] for entry in entries if "intValue" in entry},
    )
