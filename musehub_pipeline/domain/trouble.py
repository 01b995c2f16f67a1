"""What an operator has to see: trouble around pushes, and pushes that wait too long."""

from collections.abc import Mapping

from musehub_pipeline.domain.errors import Trouble

SERIOUS = frozenset(
    {
        Trouble.DATABASE_UNAVAILABLE,
        Trouble.STORAGE_UNAVAILABLE,
        Trouble.SCRATCH_UNAVAILABLE,
        Trouble.INTERNAL_ERROR,
        Trouble.LEASE_EXPIRED,
    }
)
"""Reasons that point at the machines. Others are usually gone by the next attempt."""


def needs_operator(codes: Mapping[str, int]) -> dict[str, int]:
    """Return the entries of `codes`, jobs by reason, that an operator has to see."""
    return {code: jobs for code, jobs in codes.items() if code in SERIOUS}


def problems(
    *,
    waiting: Mapping[str, int],
    expired_leases: int,
    oldest_seconds: float | None,
    most_seconds: float,
) -> list[str]:
    """Return a line for each thing that is wrong with a queue; none where all is well.

    `waiting` are the jobs that wait for another attempt, by the reason of the last, and
    `oldest_seconds` is the age of the oldest that has had none.
    """
    lines = [f"{jobs} jobs wait after {code}" for code, jobs in needs_operator(waiting).items()]
    if expired_leases:
        lines.append(f"{expired_leases} jobs are held by runs that died")
    if oldest_seconds is not None and oldest_seconds > most_seconds:
        lines.append(
            f"the oldest job has waited for {oldest_seconds:.0f} s, where"
            f" MUSEHUB_QUEUE_AGE_SECONDS allows {most_seconds:g}"
        )
    return lines
