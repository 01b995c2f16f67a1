"""Leases without a job row, for the tests of what goes on beside the database."""

from datetime import timedelta

from musehub_pipeline.domain.job import Claim, Status
from musehub_pipeline.postgres.database import Database
from musehub_pipeline.queue.lease import LiveLease, PastLease
from musehub_pipeline_tests.queue.queueing import BACKOFF

_NOWHERE = Database("postgresql://nowhere")  # nothing is connected before it is needed


def past_lease_of(claim: Claim) -> PastLease:
    return PastLease(claim=claim, payload={}, status=Status.FAILED, database=_NOWHERE)


def lease_of(claim: Claim) -> LiveLease:
    return LiveLease(
        claim=claim, payload={}, database=_NOWHERE, backoff=BACKOFF, unread_for=timedelta(0)
    )
