"""The table of commits and their parents."""

from musehub_pipeline.domain.ancestry import Ancestry

A, B, C, D = (bytes([number]) * 32 for number in range(4))


def ancestry(*rows: tuple[bytes, tuple[bytes, ...]]) -> Ancestry:
    table = Ancestry()
    for commit, parents in rows:
        table.append(commit, parents)
    return table


def test_it_gives_back_what_was_appended_in_order() -> None:
    rows = [(C, (B, A)), (A, ()), (B, (A,))]

    table = ancestry(*rows)

    assert list(table) == rows
    assert list(table.digests()) == [C, A, B]
    assert list(table.parents()) == [B, A, A]
    assert len(table) == 3
    assert [table.parents_of(commit) for commit in (A, B, C, D)] == [(), (A,), (B, A), None]


def test_of_a_commit_that_comes_twice_the_first_counts_and_later_ones_are_found() -> None:
    table = ancestry((A, (B,)), (A, (C,)))

    assert table.parents_of(A) == (B,)
    table.append(D, (A,))
    assert (table.parents_of(A), table.parents_of(D)) == ((B,), (A,))


def test_commits_can_be_left_out() -> None:
    table = ancestry((A, ()), (B, (A,)), (C, (B, A)), (B, (C,)))

    assert list(table.without({B, D})) == [(A, ()), (C, (B, A))]
    assert list(ancestry().without({A})) == []
