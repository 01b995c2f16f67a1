"""The services of a run: what they are made of."""

import gc
import resource
import threading
from pathlib import Path

from musehub_pipeline.phases import services
from musehub_pipeline.phases.services import open_objects, open_services
from musehub_pipeline_tests.acceptance.pushes import push_many
from musehub_pipeline_tests.hub import Hub
from musehub_pipeline_tests.indexing import index_batch
from musehub_pipeline_tests.objects.packing import packed


def test_garbage_is_searched_for_in_what_came_since_the_first_services_only(hub: Hub) -> None:
    with open_services(hub.settings):
        spared = gc.get_freeze_count()
    since: list[list[int]] = [[] for _ in range(1_000)]
    with open_services(hub.settings):
        assert 0 < gc.get_freeze_count() <= spared  # some of what is spared may be gone by now
    assert len(since) == 1_000


def test_object_storage_has_as_many_threads_as_are_set(hub: Hub) -> None:
    one_thread = hub.settings.model_copy(update={"storage_threads": 1})
    contents = [b"%d" % number for number in range(100)]

    with open_objects(one_thread) as objects:
        objects.put_objects(*packed(*contents))
        threads = [thread.name for thread in threading.enumerate() if "storage" in thread.name]

    assert threads == ["storage_0"]
    assert sorted(hub.stored_objects().values()) == sorted(contents)


def test_a_batch_may_have_more_jobs_than_the_process_could_open_files(hub: Hub) -> None:
    jobs = push_many(hub, repos=80, each=1)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(list(Path("/proc/self/fd").iterdir())) + 60
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, before[1]))
    services._raise_open_files.cache_clear()
    try:
        index_batch(hub)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert [hub.job(job_id)["status"] for job_id in jobs] == ["done"] * 80
