"""Text that strangers wrote shows as one line that commands nothing."""

import pytest

from musehub_pipeline.domain.escapes import one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("été 🎵", "été 🎵"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31m\0\x9b", r"\x1b[31m\x00\x9b"),
        ("\u202eabc\u2066", r"\u202eabc\u2066"),
        ("\u200b\u2028\xa0", r"\u200b\u2028\xa0"),
        ("\ud800", r"\ud800"),
        ("0123456789" * 2, "0123456789" * 2),
        ("0123456789" * 2 + "x", "0123456789012345678…"),
        ("\n" * 11, r"\n" * 9 + "\\…"),
    ],
)
def test_what_is_not_printable_is_spelled_out_and_what_is_long_is_cut(
    text: str, shown: str
) -> None:
    assert one_line(text, longest=20) == shown
