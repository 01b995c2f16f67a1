"""The one place where everything is joined: what `dagster` loads."""

import dagster as dg

from musehub_pipeline.orchestration.assets import assets
from musehub_pipeline.orchestration.backfill_mpacks import backfill_mpacks_job
from musehub_pipeline.orchestration.checks import CHECKS
from musehub_pipeline.orchestration.index_mpacks import index_mpacks_job
from musehub_pipeline.orchestration.prune_history import prune_history_schedule
from musehub_pipeline.orchestration.resources import MusehubResource
from musehub_pipeline.orchestration.sensor import pending_mpacks_sensor
from musehub_pipeline.settings import asset_owners, asset_tags, first_day, storage_url


def build_defs(
    *,
    musehub: dg.ResourceDefinition | MusehubResource | None = None,
) -> dg.Definitions:
    """Return the definitions, with another resource where one is given."""
    resource = musehub or MusehubResource()
    index_mpacks = index_mpacks_job(resource)
    backfill_mpacks = backfill_mpacks_job(resource, start=first_day())
    in_s3 = (getattr(resource, "storage_url", None) or storage_url() or "").startswith("s3://")
    return dg.Definitions(
        assets=assets(
            storage_kind="s3" if in_s3 else "file", owners=asset_owners(), tags=asset_tags()
        ),
        asset_checks=CHECKS,
        jobs=[index_mpacks, backfill_mpacks],
        sensors=[pending_mpacks_sensor(index_mpacks)],
        schedules=[prune_history_schedule(resource)],
        resources={"musehub": resource},
        executor=dg.in_process_executor,
    )


defs = build_defs()
