"""Dagster's daemon looks for backfills twice a minute, for other code servers once; both are fixed.

Here both come sooner: the dagster.yaml of the tests names the scheduler below, which each of
Dagster's processes imports when it starts.
"""

import sys

from dagster._core.scheduler import DagsterDaemonScheduler

BACKFILLS_EVERY_SECONDS = 1
CODE_SERVERS_EVERY_SECONDS = 5

if daemon := sys.modules.get("dagster._daemon.controller"):
    daemon.DEFAULT_DAEMON_INTERVAL_SECONDS = BACKFILLS_EVERY_SECONDS
    daemon.RELOAD_WORKSPACE_INTERVAL = CODE_SERVERS_EVERY_SECONDS


class ImpatientScheduler(DagsterDaemonScheduler):
    """Dagster's own."""
