"""What an mpack holds, by name only: nothing of it is verified again."""

from collections.abc import Callable

from musehub_pipeline.domain import ids
from musehub_pipeline.domain.commit import commit_id_of
from musehub_pipeline.domain.inventory import Kind
from musehub_pipeline.domain.snapshot import snapshot_id_of


class Listing:
    """The mpack reader's visitor that hands on the digest of every item."""

    def __init__(self, take: Callable[[Kind, bytes], None]) -> None:
        self._take = take

    def object(self, object_id: str, offset: int, size: int) -> None:
        """Hand on an object, whatever its content."""
        ids.check_id("object_id", object_id)
        self._take("object", ids.digest_of(object_id))

    def snapshot(self, offset: int, raw: bytes) -> None:
        """Hand on a snapshot, whatever it names."""
        self._take("snapshot", ids.digest_of(snapshot_id_of(raw)))

    def commit(self, offset: int, raw: bytes) -> None:
        """Hand on a commit, whatever it says."""
        self._take("commit", ids.digest_of(commit_id_of(raw)))
