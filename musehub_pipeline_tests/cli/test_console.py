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
        ("\u200ea\u061cb\u200b\ufeff", r"\u200ea\u061cb\u200b\ufeff"),
        ("a\u2028b\u2029\xa0\u3000c", "a\\u2028b\\u2029\xa0\u3000c"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_control_characters_are_spelled_out_and_all_else_stays(text: str, shown: str) -> None:
    assert plain(text) == shown
