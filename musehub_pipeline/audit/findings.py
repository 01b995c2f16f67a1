"""Objects whose bytes are wrong, who holds them, and which mpacks in storage could replace them.

All is noted in temporary tables: an index whose storage is lost finds as much as it has objects.
Only the mpacks of done jobs are read, of the repos that hold what was found.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from musehub_pipeline.audit.deep import Damage, Wrong
from musehub_pipeline.audit.mpacks import fetched, read_again
from musehub_pipeline.domain.errors import Rejection
from musehub_pipeline.domain.ids import PREFIX, digest_of
from musehub_pipeline.domain.places import Place, Places
from musehub_pipeline.objects.mpacks import MpackFile
from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline.postgres.arrays import chunked, id_array, text_array
from musehub_pipeline.postgres.database import Database, Transaction

_CHUNK_ROWS = 5_000

Progress = Callable[[int, int], None]
"""Takes how much is done, and how much there is."""


class Supplier(NamedTuple):
    """A done job whose mpack is in storage."""

    job_id: str
    mpack_key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """An object whose bytes are wrong."""

    damage: Damage
    repo_ids: Sequence[str]  # that hold it
    suppliers: Sequence[Supplier]  # whose mpacks have it

    def __str__(self) -> str:
        damage = self.damage
        expected = "" if damage.expected_bytes is None else f" of {damage.expected_bytes} bytes"
        stored = "nothing is stored"
        if damage.actual_bytes is not None:
            stored = f"{damage.actual_bytes} bytes are stored, and hash to {damage.actual_id}"
        jobs = " ".join(job_id for job_id, _ in self.suppliers) or "none"
        return (
            f"{damage.what}: {damage.object_id}{expected}: {stored};"
            f" held by {' '.join(self.repo_ids) or 'none'}; in the mpacks of jobs: {jobs}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        damage = self.damage
        actual = {"size_bytes": damage.actual_bytes, "hash": damage.actual_id}
        return {
            "object_id": damage.object_id,
            "what": str(damage.what),
            "expected": {"size_bytes": damage.expected_bytes, "hash": damage.object_id},
            "actual": None if damage.what is Wrong.MISSING else actual,
            "repos": list(self.repo_ids),
            "jobs": [supplier._asdict() for supplier in self.suppliers],
        }


class Supply(NamedTuple):
    """An mpack, at hand until the next one is, and where in it lies what was found."""

    file: MpackFile
    places: Places


class Findings:
    """What was found; `unreadable` has the jobs of mpacks that cannot be read, and why."""

    def __init__(self, transaction: Transaction, objects: ObjectStorage, *, scratch: Path) -> None:
        self._transaction = transaction
        self._objects = objects
        self._scratch = scratch
        self.found = 0

    def note(self, damages: Iterable[Damage]) -> None:
        """Note what was found, each object once."""
        for chunk in chunked(damages, _CHUNK_ROWS):
            object_ids, whats, expected, actual, actual_ids = zip(*chunk, strict=True)
            self.found += self._transaction.write(
                "findings_note",
                {
                    "object_ids": text_array(object_ids),
                    "whats": text_array(whats),
                    "expected": list(expected),
                    "actual": list(actual),
                    "actual_ids": list(actual_ids),
                },
            )

    def supplies(self, report: Progress, *, job_ids: Sequence[str] = ()) -> Iterator[Supply]:
        """Yield each mpack that has what was found, and note whose it is.

        Mpacks of the repos that hold it are read, and of those to which `job_ids` pushed. One that
        cannot be read supplies nothing: `fsck` tells of it.

        Raises:
            Transient: storage, scratch or database could not be reached.
        """
        if not self.found:
            return
        transaction = self._transaction
        transaction.write("findings_note_holders", {"job_ids": list(job_ids)})
        transaction.write("findings_analyze")
        total = transaction.value("findings_count_mpacks")
        rows = transaction.stream("findings_mpacks", {})
        for number, (hex_digest, group) in enumerate(groupby(rows, key=lambda row: row[0]), 1):
            report(number - 1, total)
            jobs = [job_id for _, job_id in group]
            try:
                with fetched(hex_digest, self._objects, scratch=self._scratch) as file:
                    places = Places(self._found_in(file))
                    if places:
                        self._note_supply(number, f"{PREFIX}{hex_digest}", jobs, places)
                        yield Supply(file, places.sorted_unique())
            except Rejection:
                continue
            finally:
                report(number, total)

    def all(self) -> Iterator[Finding]:
        """Yield what was found, in order, with all that has been noted of it."""
        for *damage, repo_ids, suppliers in self._transaction.stream("findings", {}):
            object_id, what, *actual = damage
            yield Finding(
                damage=Damage(object_id, Wrong(what), *actual),
                repo_ids=repo_ids,
                suppliers=[Supplier(*supplier) for supplier in suppliers],
            )

    def has(self, object_id: str) -> bool:
        """Tell whether an object was found to be wrong."""
        ids = text_array([object_id])
        return bool(self._transaction.tuples("findings_among", {"ids": ids}))

    def _found_in(self, file: MpackFile) -> Iterator[Place]:
        for kind, items in read_again(file):
            if kind == "object":
                ids = id_array(item.place.digest for item in items)
                found = self._transaction.tuples("findings_among", {"ids": ids})
                digests = {digest_of(object_id) for (object_id,) in found}
                yield from (item.place for item in items if item.place.digest in digests)

    def _note_supply(
        self, mpack: int, mpack_key: str, job_ids: Sequence[str], places: Places
    ) -> None:
        self._transaction.write(
            "findings_note_supply", {"mpack": mpack, "ids": id_array(places.digests())}
        )
        self._transaction.write(
            "findings_note_jobs",
            {"mpack": mpack, "mpack_key": mpack_key, "job_ids": text_array(job_ids)},
        )


@contextmanager
def open_findings(
    database: Database, objects: ObjectStorage, *, scratch: Path
) -> Generator[Findings]:
    """Note findings for the block; nothing of what is noted stays in the end.

    Raises:
        Transient: DATABASE_UNAVAILABLE.
    """
    with database.transaction() as transaction:
        transaction.rows("stream_and_wait_for_storage")
        for name in ("findings_make", "findings_make_holders", "findings_make_supplies"):
            transaction.write(name)
        transaction.write("findings_make_jobs")
        yield Findings(transaction, objects, scratch=scratch)
