"""Repos by name and by id; one that is not there is named."""

from collections.abc import Iterator

import pytest

from musehub_pipeline.domain.errors import RepoNotFound
from musehub_pipeline.index.repos import Repo, Repos
from musehub_pipeline.postgres.database import Database
from musehub_pipeline_tests.hub import Hub


@pytest.fixture
def repos(hub: Hub) -> Iterator[Repos]:
    hub.create_repo()
    with Database(str(hub.settings.database_url)) as database:
        yield Repos(database)


@pytest.mark.parametrize("text", ["ada/song", "repo-song"])
def test_a_repo_is_found_by_its_name_and_by_its_id(hub: Hub, repos: Repos, text: str) -> None:
    hub.create_repo("talk")

    assert repos.find_by_name_or_id(text) == Repo(repo_id="repo-song", default_branch="main")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ada/talk", "no repository is called 'ada/talk'"),
        ("repo-talk", "no repository has the id 'repo-talk'"),
        ("ada/gone", "no repository is called 'ada/gone'"),
        ("repo-gone", "no repository has the id 'repo-gone'"),
        ("", "no repository has the id ''"),
        ("ada/", "'ada/' is not of the form owner/slug"),
    ],
)
def test_a_repo_that_is_not_there_is_named(hub: Hub, repos: Repos, text: str, message: str) -> None:
    hub.create_repo("gone")
    hub.sql("UPDATE musehub_repos SET deleted_at = now() WHERE slug = 'gone'")

    with pytest.raises(RepoNotFound) as missing:
        repos.find_by_name_or_id(text)

    assert str(missing.value) == message
