"""The names of what an mpack holds, whatever it holds."""

import pytest

from musehub_pipeline.domain.errors import Rejection
from musehub_pipeline.domain.ids import id_of
from musehub_pipeline.domain.limits import Limits
from musehub_pipeline.domain.listing import Listing
from musehub_pipeline.domain.mpack import read_mpack
from musehub_pipeline_tests.domain.reading import Bytes
from musehub_pipeline_tests.factories import pack, small_history


def listed(mpack: bytes) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    listing = Listing(lambda kind, digest: found.append((kind, id_of(digest))))
    read_mpack(Bytes(mpack), listing, limits=Limits())
    return found


@pytest.mark.parametrize("prefix", ["", "sha256:"])
def test_every_item_is_named_in_the_stored_spelling(prefix: str) -> None:
    history = small_history(prefix)

    expected = [
        *(("commit", commit_id) for commit_id in history.commits),
        *(("snapshot", snapshot_id) for snapshot_id in history.snapshots),
        *(("object", object_id) for object_id in history.objects),
    ]
    assert sorted(listed(history.mpack())) == sorted(
        (kind, f"sha256:{any_id[-64:]}") for kind, any_id in expected
    )


def test_nothing_is_verified_again() -> None:
    content = small_history().content()
    content["objects"][0]["content"] = b"others"
    content["snapshots"][0]["manifest"] = {}
    content["commits"][0]["message"] = "another"

    assert listed(pack(content)) == listed(small_history().mpack())


@pytest.mark.parametrize("kind", ["object", "snapshot", "commit"])
def test_what_is_no_id_is_a_rejection_that_names_the_item(kind: str) -> None:
    content = small_history().content()
    content[f"{kind}s"][1][f"{kind}_id"] = "no id"

    with pytest.raises(Rejection) as caught:
        listed(pack(content))

    assert (caught.value.code.value, caught.value.item) == ("BAD_ID", f"{kind}s[1]")
