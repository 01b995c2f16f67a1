"""Everything that Dagster's GraphQL lets somebody change."""

from typing import NamedTuple

_LOCATION = '"musehub_pipeline"'
_REPOSITORY = f'repositoryName: "__repository__", repositoryLocationName: {_LOCATION}'
_SENSOR = f'{{sensorName: "pending_mpacks", {_REPOSITORY}}}'
_SCHEDULE = f'{{scheduleName: "prune_history_schedule", {_REPOSITORY}}}'
_DAYS = (
    'selector: {partitionSetName: "backfill_mpacks_partition_set", '
    f'repositorySelector: {{{_REPOSITORY}}}}}, partitionNames: ["2026-01-01"]'
)
_INDEX = f'{{selector: {{jobName: "index_mpacks", {_REPOSITORY}}}}}'
_ASSET = 'assetKey: {path: ["musehub", "mpack_index"]}'
_EVENT = f"eventType: ASSET_MATERIALIZATION, {_ASSET}"
_CHECK = f'checkName: "trouble", passed: true, {_ASSET}'
_COMPONENT = f'locationName: {_LOCATION}, componentId: "a"'
_DYNAMIC = f'partitionsDefName: "songs", repositorySelector: {{{_REPOSITORY}}}'
_TYPE = "{__typename}"
_TYPES = f"{{... on LaunchMultipleRunsResult {{launchMultipleRunsResult {_TYPE}}}}}"
_ENDED = "{__typename ... on TerminateRunFailure {message}}"
_ALL_ENDED = f"{{... on TerminateRunsResult {{terminateRunResults {_ENDED}}}}}"

LAUNCH_RUN = f"launchRun(executionParams: {_INDEX}) {{... on LaunchRunSuccess {{run {{runId}}}}}}"
LAUNCH_BACKFILL = (
    f"launchPartitionBackfill(backfillParams: {{{_DAYS}}}) "
    "{... on LaunchBackfillSuccess {backfillId}}"
)
START_SENSOR = f"startSensor(sensorSelector: {_SENSOR}) {_TYPE}"

KEPT = (
    f"sensorOrError(sensorSelector: {_SENSOR}) {{... on Sensor {{sensorState {{status}}}}}}"
    f"scheduleOrError(scheduleSelector: {_SCHEDULE}) "
    "{... on Schedule {scheduleState {status}}}"
    "runsOrError {... on Runs {results {runId status}}}"
    "partitionBackfillsOrError {... on PartitionBackfills {results {id status}}}"
    'assetOrError(assetKey: {path: ["musehub", "mpack_index"]}) '
    "{... on Asset {assetMaterializations {runId}}}"
    "instance {autoMaterializePaused concurrencyLimits {concurrencyKey}}"
)
"""A query for what they change."""
IDS = (
    f"sensorOrError(sensorSelector: {_SENSOR}) {{... on Sensor {{sensorState {{id}}}}}}"
    f"scheduleOrError(scheduleSelector: {_SCHEDULE}) {{... on Schedule {{scheduleState {{id}}}}}}"
)
"""A query for how sensor and schedule are named where they are stopped."""


class Target(NamedTuple):
    """The ids of what there is to change."""

    run: str
    backfill: str
    sensor: str
    schedule: str


def stop_sensor(sensor: str) -> str:
    return f'stopSensor(id: "{sensor}") {_TYPE}'


def terminate_run(run: str) -> str:
    return f'terminateRun(runId: "{run}") {_ENDED}'


def all_of(target: Target) -> list[str]:
    """Return each of them, and what it answers, but for those that change nothing here."""
    parent = f'{{parentRunId: "{target.run}", strategy: ALL_STEPS}}'
    again = f'{{parentRunId: "{target.backfill}", strategy: ALL_STEPS}}'
    return [
        f"launchPipelineExecution(executionParams: {_INDEX}) {_TYPE}",
        f"launchRun(executionParams: {_INDEX}) {_TYPE}",
        f"launchMultipleRuns(executionParamsList: [{_INDEX}]) {_TYPES}",
        f"launchPipelineReexecution(reexecutionParams: {parent}) {_TYPE}",
        f"launchRunReexecution(reexecutionParams: {parent}) {_TYPE}",
        f'terminatePipelineExecution(runId: "{target.run}") {_ENDED}',
        terminate_run(target.run),
        f'terminateRuns(runIds: ["{target.run}"]) {_ALL_ENDED}',
        f'deletePipelineRun(runId: "{target.run}") {_TYPE}',
        f'deleteRun(runId: "{target.run}") {_TYPE}',
        START_SENSOR,
        stop_sensor(target.sensor),
        f"resetSensor(sensorSelector: {_SENSOR}) {_TYPE}",
        f'setSensorCursor(sensorSelector: {_SENSOR}, cursor: "1") {_TYPE}',
        f'sensorDryRun(selectorData: {_SENSOR}, cursor: "1") {_TYPE}',
        f"startSchedule(scheduleSelector: {_SCHEDULE}) {_TYPE}",
        f'stopRunningSchedule(id: "{target.schedule}") {_TYPE}',
        f"resetSchedule(scheduleSelector: {_SCHEDULE}) {_TYPE}",
        f"scheduleDryRun(selectorData: {_SCHEDULE}, timestamp: 1) {_TYPE}",
        f"launchPartitionBackfill(backfillParams: {{{_DAYS}}}) {_TYPE}",
        f'resumePartitionBackfill(backfillId: "{target.backfill}") {_TYPE}',
        f"reexecutePartitionBackfill(reexecutionParams: {again}) {_TYPE}",
        f'cancelPartitionBackfill(backfillId: "{target.backfill}") {_TYPE}',
        f"wipeAssets(assetPartitionRanges: [{{{_ASSET}}}]) {_TYPE}",
        f"reportRunlessAssetEvents(eventParams: {{{_EVENT}}}) {_TYPE}",
        f"reportAssetCheckEvaluations(eventParams: {{{_CHECK}}}) {_TYPE}",
        f'addDynamicPartition(partitionKey: "song", {_DYNAMIC}) {_TYPE}',
        f'deleteDynamicPartitions(partitionKeys: ["song"], {_DYNAMIC}) {_TYPE}',
        f"reloadWorkspace {_TYPE}",
        f"reloadRepositoryLocation(repositoryLocationName: {_LOCATION}) {_TYPE}",
        f"shutdownRepositoryLocation(repositoryLocationName: {_LOCATION}) {_TYPE}",
        f'setAppManagedComponent({_COMPONENT}, componentType: "b", attributes: "") {_TYPE}',
        f"deleteAppManagedComponent({_COMPONENT}) {_TYPE}",
        f'refreshComponentState(locationName: {_LOCATION}, defsStateKey: "a") {_TYPE}',
        "setAutoMaterializePaused(paused: true)",
        'setConcurrencyLimit(concurrencyKey: "a", limit: 1)',
        'deleteConcurrencyLimit(concurrencyKey: "a")',
        f'freeConcurrencySlots(runId: "{target.run}")',
        f'freeConcurrencySlotsForRun(runId: "{target.run}")',
    ]


HARMLESS = {"logTelemetry", "setNuxSeen"}
"""What is no change: telemetry is off, and whether a dialog was seen that is off as well."""
