"""What strangers wrote is shown, and commands no terminal."""

import pytest

from musehub_pipeline.cli.console import plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("été 🎵\ttwo\nlines", "été 🎵\ttwo\nlines"),
        ("\x1b[31m\0\x9b\r", r"\x1b[31m\x00\x9b\r"),
        ("\u202ea\u2066b\u2069", r"\u202ea\u2066b\u2069"),
    ],
)
def test_control_characters_are_spelled_out_and_all_else_stays(text: str, shown: str) -> None:
    assert plain(text) == shown
