"""The services of a run: what they are made of."""

import gc

from musehub_pipeline.phases.services import open_services
from musehub_pipeline_tests.hub import Hub


def test_garbage_is_searched_for_in_what_came_since_the_first_services_only(hub: Hub) -> None:
    with open_services(hub.settings):
        spared = gc.get_freeze_count()
    with open_services(hub.settings):
        assert gc.get_freeze_count() == spared > 0
