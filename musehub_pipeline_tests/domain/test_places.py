"""The table of places in a file."""

import pytest

from musehub_pipeline.domain.places import Place, Places


def digest(number: int) -> bytes:
    return number.to_bytes(32)


def places(*rows: tuple[int, int, int]) -> Places:
    return Places(Place(digest(number), offset, size) for number, offset, size in rows)


def rows_of(table: Places) -> list[tuple[int, int, int]]:
    return [(int.from_bytes(item.digest), item.offset, item.size) for item in table]


def test_it_gives_back_what_was_appended_in_order() -> None:
    table = places((7, 100, 5), (3, 0, 0), (2**256 - 1, 2**63, 2**63))

    assert list(table) == [
        Place(digest(7), 100, 5),
        Place(digest(3), 0, 0),
        Place(b"\xff" * 32, 2**63, 2**63),
    ]
    assert list(table.digests()) == [digest(7), digest(3), b"\xff" * 32]
    assert len(table) == 3


def test_an_empty_table_is_empty_in_every_way() -> None:
    table = places()

    assert (len(table), list(table)) == (0, [])
    assert list(table.chunks(rows=5)) == []
    assert rows_of(table.sorted_unique()) == []


def test_sorting_keeps_each_id_once_the_first_that_came() -> None:
    table = places((9, 0, 1), (2, 10, 2), (9, 20, 3), (5, 30, 4), (2, 40, 5))

    assert rows_of(table.sorted_unique()) == [(2, 10, 2), (5, 30, 4), (9, 0, 1)]
    assert len(table) == 5


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_sorting_in_groups_is_sorting(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musehub_pipeline.domain.places._SORTED_AT_ONCE", at_once)
    numbers = [5, 2**255, 7, 5, 2**248 + 1, 2**248, 5, 0, 2**255, 2**256 - 1]
    table = places(*((number, row, 1) for row, number in enumerate(numbers)))

    assert rows_of(table.sorted_unique()) == [
        (number, numbers.index(number), 1) for number in sorted(set(numbers))
    ]


def test_marks_are_kept_and_a_view_has_the_items_that_have_one() -> None:
    table = Places()
    for number, marks in ((4, 0), (3, 1), (2, 2), (1, 3)):
        table.append(Place(digest(number), number, 1), marks)

    both = table.sorted_unique()
    some = table.sorted_unique(marked=True)
    some.mark({digest(2), digest(9)}, 1)

    assert rows_of(both) == [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 4, 1)]
    assert (len(both.marked(1)), len(both.marked(2)), len(both.marked(4))) == (2, 2, 0)
    assert [place.offset for place in both.marked(1)] == [1, 3]
    assert list(both.marked(2).digests()) == [digest(1), digest(2)]
    assert [place.offset for place in some.marked(1)] == [1, 2, 3]
    assert len(some) == 3


@pytest.mark.parametrize("scanned", [0, 1000])
def test_of_a_sorted_table_those_are_found_that_are_asked_for(
    scanned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musehub_pipeline.domain.places._SCANNED", scanned)
    table = places((1, 10, 1), (3, 30, 1), (5, 50, 1))

    found = table.among([digest(number) for number in (0, 5, 2, 1, 6)])

    assert sorted(place.offset for place in found) == [10, 50]
    assert list(places().among([digest(1)])) == []
    assert list(table.among([])) == []


@pytest.mark.parametrize(
    ("rows", "size_bytes", "expected"),
    [
        (2, None, [[1, 2], [3, 4], [5]]),
        (5, None, [[1, 2, 3, 4, 5]]),
        (9, 30, [[1, 2], [3], [4], [5]]),
        (9, 31, [[1, 2], [3], [4], [5]]),
        (1, 1000, [[1], [2], [3], [4], [5]]),
        (9, 1, [[1], [2], [3], [4], [5]]),
        (9, 1000, [[1, 2, 3, 4, 5]]),
    ],
)
def test_chunks_are_full_by_rows_or_by_bytes_but_an_item_too_large_goes_alone(
    rows: int, size_bytes: int | None, expected: list[list[int]]
) -> None:
    table = places((1, 0, 10), (2, 10, 20), (3, 30, 25), (4, 55, 99), (5, 154, 15))

    chunks = list(table.chunks(rows=rows, size_bytes=size_bytes))

    assert [[int.from_bytes(item.digest) for item in chunk] for chunk in chunks] == expected
