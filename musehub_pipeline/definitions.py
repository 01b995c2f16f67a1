"""The one place where everything is joined: what `dagster` loads."""

import dagster as dg

from musehub_pipeline.orchestration.jobs import index_mpacks_job
from musehub_pipeline.orchestration.resources import MusehubResource


def build_defs(
    *,
    musehub: dg.ResourceDefinition | MusehubResource | None = None,
) -> dg.Definitions:
    """Return the definitions, with another resource where one is given."""
    return dg.Definitions(jobs=[index_mpacks_job(musehub or MusehubResource())])


defs = build_defs()
