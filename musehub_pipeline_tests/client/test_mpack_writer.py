"""The file that is written: whole, or not at all."""

from pathlib import Path

from musehub_pipeline.client.mpack_writer import MpackWriter
from musehub_pipeline_tests.client.repository import muse_id


def test_a_writer_that_does_not_finish_leaves_the_destination_alone(mpack: Path) -> None:
    mpack.write_bytes(b"before")

    with MpackWriter(mpack) as writer:
        writer.add_object(muse_id(b"la"), b"la")

    assert mpack.read_bytes() == b"before"
    assert list(mpack.parent.iterdir()) == [mpack]
