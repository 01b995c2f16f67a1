"""Probes: a push that names what it does not bring, to learn whether somebody else holds it."""

from typing import Literal, get_args

from musehub_pipeline_tests.factories import History

Kind = Literal["object", "snapshot", "parent", "head"]

KINDS: tuple[Kind, ...] = get_args(Kind)


def probe(kind: Kind, content: bytes) -> tuple[bytes, str]:
    """Return the mpack and the head of a push that names a part of `holding([content])`."""
    held = History()
    commit = held.commit({"tune": content})
    match kind:
        case "object":
            return held.mpack(objects=[]), commit
        case "snapshot":
            return held.mpack(objects=[], snapshots=[]), commit
        case "parent":
            more = held.copy()
            head = more.commit({"score": content * 2}, parents=[commit])
            return more.mpack(without=held), head
        case "head":
            return History().mpack(), commit


def holding(contents: list[bytes]) -> History:
    """Return a history with a commit for each content, of which nothing leans on another."""
    history = History()
    for content in contents:
        history.commit({"tune": content})
    return history
