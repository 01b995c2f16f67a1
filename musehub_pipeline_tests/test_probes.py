"""What another repository holds is refused in the very words in which that is which nobody does."""

import re

import obstore
import pytest

from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_all
from musehub_pipeline_tests.probes import KINDS, Kind, holding, probe

CODES = {
    "object": "OBJECT_NOT_HELD",
    "snapshot": "SNAPSHOT_NOT_HELD",
    "parent": "PARENT_NOT_HELD",
    "head": "HEAD_UNKNOWN",
}
ODD_ONES = {"job_id", "run_id", "created_at", "started_at", "finished_at", "payload", "attempts"}


def objects(hub: Hub) -> list[str]:
    return sorted(
        each["path"] for page in obstore.list(hub.store, prefix="objects") for each in page
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_probe_does_not_tell_what_another_repo_holds(hub: Hub, kind: Kind) -> None:
    secret = holding([b"secret"])
    hub.push(hub.create_repo("secret"), secret.mpack(), head=next(iter(secret.commits)))
    index_all(hub)
    before = (hub.counts(), objects(hub))
    repo_id = hub.create_repo("curious")

    def told(content: bytes) -> dict[str, object]:
        """Return all that is in the row of a probe, but for its names and times."""
        mpack, head = probe(kind, content)
        job_id = hub.push(repo_id, mpack, head=head)
        index_all(hub)
        row = hub.job(job_id)
        [attempt] = row["attempts"]
        shown = {name: value for name, value in row.items() if name not in ODD_ONES}
        shown |= {f"attempts.{name}": attempt[name] for name in ("attempt", "code", "message")}
        return {name: re.sub("[0-9a-f]{64}", "#", str(value)) for name, value in shown.items()}

    elsewhere, nowhere = told(b"secret"), told(b"nobody's")

    assert elsewhere == nowhere
    assert (elsewhere["status"], elsewhere["error_code"]) == ("failed", CODES[kind])
    assert (hub.counts(), objects(hub)) == before
