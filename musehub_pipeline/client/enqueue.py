"""Rows for mpacks that lie in storage already, as the hub writes one after an upload."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from musehub_pipeline.domain.errors import PipelineError
from musehub_pipeline.domain.ids import PREFIX
from musehub_pipeline.domain.job import payload_of
from musehub_pipeline.index.repos import Repo
from musehub_pipeline.objects.object_storage import ObjectStorage, Upload
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.enqueue import Pushes


class MpackNotStored(PipelineError):
    """Storage has no mpack of that key."""


class MpackTooYoung(PipelineError):
    """An mpack was uploaded so recently that its row may be on the way."""


@dataclass(frozen=True, kw_only=True)
class EnqueueReport:
    """The jobs of mpacks in a repository, by the mpack's key."""

    enqueued: dict[str, str]
    present: dict[str, str]  # that were there already

    def as_dict(self) -> dict[str, Any]:
        """Return the report, JSON-ready."""
        return {"enqueued": self.enqueued, "present": self.present}


def enqueue(
    hex_digests: Sequence[str],
    repo: Repo,
    *,
    older_than: timedelta,
    database: Database,
    objects: ObjectStorage,
) -> EnqueueReport:
    """Enqueue mpacks in a repository, unless a job of it names them; all or none of them.

    Such a job indexes what is in the mpack and moves no head: nobody knows which branch was meant.

    Raises:
        MpackNotStored: one of them is not in storage.
        MpackTooYoung: one of them was uploaded more recently than `older_than`.
        RepoNotFound: the repo has been deleted meanwhile.
        Transient: storage or database could not be reached.
    """
    uploads = find_uploads(hex_digests, objects)
    now = database.now()
    for hex_digest, upload in uploads.items():
        _check_age(hex_digest, now - upload.uploaded_at, older_than)
    # A thin mpack leans on those that were pushed before it: the oldest goes first.
    ordered = sorted(hex_digests, key=lambda hex_digest: uploads[hex_digest].uploaded_at)
    payloads = [payload_of(mpack_key=PREFIX + hex_digest) for hex_digest in ordered]
    enqueued, present = Pushes(database).enqueue_unnamed(repo.repo_id, payloads)
    return EnqueueReport(enqueued=enqueued, present=present)


def find_uploads(hex_digests: Sequence[str], objects: ObjectStorage) -> dict[str, Upload]:
    """Return what storage says of mpacks, by their digests.

    Raises:
        MpackNotStored: one of them is not there.
        Transient: STORAGE_UNAVAILABLE.
    """
    found = objects.find_mpacks(hex_digests)
    for hex_digest in hex_digests:
        if hex_digest not in found:
            raise MpackNotStored(f"{objects.url}/mpacks/{hex_digest} does not exist")
    return found


def _check_age(hex_digest: str, age: timedelta, older_than: timedelta) -> None:
    if age < older_than:
        seconds = max(0, round(age.total_seconds()))
        raise MpackTooYoung(
            f"the mpack {PREFIX}{hex_digest} was uploaded {seconds} seconds ago: its row may be on"
            f" the way; only what is older than {older_than} is enqueued"
        )
