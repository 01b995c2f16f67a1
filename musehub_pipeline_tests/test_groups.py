"""What takes long to start is started once: all tests that need it run in one process."""

import pytest


@pytest.mark.xdist_group("here")
def test_tests_of_a_group_are_told_to_be_one(request: pytest.FixtureRequest) -> None:
    """pytest-xdist tells it by the ends of their ids, and under pytest 9.2 not at all."""
    in_groups = getattr(request.config.option, "loadgroup", False)

    assert request.node.nodeid.endswith("@here") or not in_groups
