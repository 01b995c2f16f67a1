"""The order of the phases."""

from collections.abc import Callable

from musehub_pipeline.phases.batch import Batch
from musehub_pipeline.phases.fetch_mpack import fetch_mpack
from musehub_pipeline.phases.insert_commits import insert_commits
from musehub_pipeline.phases.insert_objects import insert_objects
from musehub_pipeline.phases.insert_snapshots import insert_snapshots
from musehub_pipeline.phases.put_objects import put_objects
from musehub_pipeline.phases.services import WorkServices
from musehub_pipeline.phases.unpack import unpack
from musehub_pipeline.phases.upsert_object_refs import upsert_object_refs

Phase = Callable[[Batch, WorkServices], Batch]

PHASES: tuple[Phase, ...] = (
    fetch_mpack,
    unpack,
    # Leaves before roots. Whatever kills a run in between, nothing that a reader can see points at
    # something that is not there, and running the job again finishes it:
    # 1. bytes, so that no object row names what storage lacks;
    put_objects,
    insert_objects,
    # 2. the repo's refs to them, so that no manifest names what the repo may not read;
    upsert_object_refs,
    # 3. snapshots, then the commits that name them. The branch moves when a job is published.
    insert_snapshots,
    insert_commits,
)
