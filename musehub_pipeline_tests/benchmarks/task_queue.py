"""A general task queue on PostgreSQL, as a measure for ours: procrastinate, a task a job."""

from collections.abc import Callable, Sequence

from procrastinate import App, PsycopgConnector


class TaskQueue:
    """Tasks in tables of their own in a database, and a worker that does one after the other."""

    def __init__(self, database_url: str, index: Callable[[str], object]) -> None:
        self._app = App(connector=PsycopgConnector(conninfo=database_url))

        @self._app.task(name="index")
        def task(job_id: str) -> None:
            index(job_id)

        self._task = task

    def defer(self, job_ids: Sequence[str]) -> None:
        """Make the tables, and a task for each job."""
        with self._app.open():
            self._app.schema_manager.apply_schema()
            self._task.batch_defer(*({"job_id": job_id} for job_id in job_ids))

    def work(self) -> None:
        """Do all tasks in this process."""
        self._app.run_worker(wait=False, concurrency=1, install_signal_handlers=False)
