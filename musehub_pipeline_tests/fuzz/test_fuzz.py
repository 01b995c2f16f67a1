"""Any mpack is refused with a code, or sound: those that were found once, and others."""

import random
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from musehub_pipeline_tests.fuzz.choices import mpack_of
from musehub_pipeline_tests.fuzz.judging import judge

FOUND = Path(__file__).parent / "found"


def test_what_was_found_once_is_judged() -> None:
    for path in FOUND.glob("[!.]*"):
        judge(mpack_of(path.read_bytes()))


@given(st.binary(max_size=400))
def test_whatever_is_chosen_is_judged(data: bytes) -> None:
    judge(mpack_of(data))


def test_what_is_chosen_reaches_most_of_what_can_be_wrong_and_is_sound_at_times() -> None:
    chance = random.Random(1)
    codes = Counter(judge(mpack_of(chance.randbytes(300))) for _ in range(2_000))

    assert codes.keys() >= {
        *("ok", "BAD_ID", "BAD_PATH", "BAD_TEXT", "BAD_TIMESTAMP", "COMMIT_ID_MISMATCH"),
        *("LIMIT_EXCEEDED", "MPACK_MALFORMED", "OBJECT_HASH_MISMATCH", "SNAPSHOT_ID_MISMATCH"),
    }
