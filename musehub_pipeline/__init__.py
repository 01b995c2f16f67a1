"""The indexing pipeline of MuseHub."""

from typing import TYPE_CHECKING

from musehub_pipeline.domain.errors import JobFailed

if TYPE_CHECKING:
    from musehub_pipeline.domain.result import Result
    from musehub_pipeline.settings import Settings

__all__ = ["JobFailed", "process_mpack_index_job"]


def process_mpack_index_job(job_id: str, settings: "Settings | None" = None) -> "Result":
    """Index one job in this process; see `orchestration.in_process.process_mpack_index_job`."""
    # Dagster takes more than a second to import: whoever imports a submodule need not wait for it.
    from musehub_pipeline.orchestration.in_process import process_mpack_index_job as process

    return process(job_id, settings)
