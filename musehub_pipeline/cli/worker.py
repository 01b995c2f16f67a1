"""A worker process of `index --workers`: indexes batch after batch, and tells its parent.

It writes a line of JSON to stdout for each batch: the jobs that it worked on, none where nothing
was due. What is not due may become so, when another worker is done with a job of its repository; so
it looks again, until its stdin ends: no worker has anything to do, or the parent is gone.
"""

import select
import signal
import sys

from musehub_pipeline import local
from musehub_pipeline.cli.console import print_json_line
from musehub_pipeline.cli.logs import logs_as_output
from musehub_pipeline.cli.main import report_errors
from musehub_pipeline.phases.services import open_database, open_queue
from musehub_pipeline.settings import Settings

_PAUSE_SECONDS = 0.2


def work() -> None:
    """Index what is due until nothing is, here or with the other workers."""
    from musehub_pipeline.orchestration.in_process import Runner, dagster_instance

    settings = local.resolve(Settings.load())
    with (
        open_database(settings) as database,
        dagster_instance() as instance,
        logs_as_output(on_phase=lambda _: None),
    ):
        queue = open_queue(database, settings)
        runner = Runner(settings, instance)
        may_end = False
        while True:
            ended = runner.run() if queue.has_due() else []
            print_json_line(ended)
            if ended:
                continue
            if may_end:
                return
            may_end = _stdin_ends_within(_PAUSE_SECONDS)


def _stdin_ends_within(seconds: float) -> bool:
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(readable)  # the parent writes nothing: all that can be read is the end


def _stoppable_work() -> None:
    try:
        work()
    except KeyboardInterrupt:  # told to stop within a run, which has given its leases back
        sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    report_errors(_stoppable_work)
