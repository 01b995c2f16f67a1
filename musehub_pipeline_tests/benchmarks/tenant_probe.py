"""Whether the time of a refusal tells what another repository holds."""

import os
import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from math import sqrt
from time import perf_counter

from musehub_pipeline.domain.result import Outcome
from musehub_pipeline.phases.claim_jobs import claim_jobs
from musehub_pipeline.phases.pipeline import PHASES
from musehub_pipeline.phases.services import Services, open_services
from musehub_pipeline.phases.summarize import summarize
from musehub_pipeline_tests.benchmarks.bench import Bench
from musehub_pipeline_tests.benchmarks.figures import Figure, Pair, amount
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.probes import KINDS, Kind, holding, probe

_TRIALS = 300
_DEVIATIONS = 4  # of chance alone: beyond them once in sixteen thousand figures


def tenant_probe(bench: Bench) -> Iterator[Figure]:
    """Time probes for what another repository holds, and for what nobody does, in random order.

    The figure is how often one of the former takes longer than one of the latter, of all pairs:
    half of them where nothing can be told.
    """
    trials = bench.some(_TRIALS)
    chance = sqrt((2 * trials + 1) / (12 * trials**2))  # of the Mann-Whitney U, for equal samples
    with bench.database() as url, open_services(settings := bench.settings(url)) as services:
        hub = Hub(settings)
        held = [os.urandom(64) for _ in range(trials)]
        secret = holding(held)
        hub.push(hub.create_repo("secret"), secret.mpack())
        assert _seconds(services) > 0
        repo_id = hub.create_repo("curious")
        for kind in KINDS:
            elsewhere, nowhere = _times(hub, services, repo_id, kind, held)
            share = _share_of_longer(elsewhere, nowhere)
            yield amount(
                f"tenant-probe {kind}",
                f"{trials} refusals each",
                [Pair(max(share, 1 - share), 0.5)],
                unit="",
                limit=round(0.5 + _DEVIATIONS * chance, 3),
            )


def _times(
    hub: Hub, services: Services, repo_id: str, kind: Kind, held: Sequence[bytes]
) -> tuple[list[float], list[float]]:
    """Return the seconds of each probe: for what is held elsewhere, and for what is nowhere."""
    times: tuple[list[float], list[float]] = [], []
    trials = [(content, 0) for content in held] + [(os.urandom(64), 1) for _ in held]
    random.shuffle(trials)
    for content, side in trials:
        mpack, head = probe(kind, content)
        hub.push(repo_id, mpack, head=head)
        times[side].append(_seconds(services, expected=Outcome.FAILED))
    return times


def _seconds(services: Services, *, expected: Outcome = Outcome.DONE) -> float:
    """Index what is due; return how long that took."""
    started = perf_counter()
    batch = claim_jobs(services, run_id="bench")
    for phase in PHASES:
        batch = phase(batch, services)
    [item] = summarize(batch, services).items
    assert item.outcome is expected, item.error
    return perf_counter() - started


def _share_of_longer(some: Sequence[float], others: Sequence[float]) -> float:
    """Return in how many of all pairs the first is longer; a tie is half a pair."""
    order = sorted(others)
    longer = sum(bisect_left(order, each) + bisect_right(order, each) for each in some) / 2
    return longer / (len(some) * len(others))
