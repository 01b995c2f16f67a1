"""Stored bytes that rot, in one of three ways each."""

import random
from collections.abc import Collection
from typing import Any

import obstore

from musehub_pipeline_tests.factories import History
from musehub_pipeline_tests.hub import Hub


def key_of(object_id: str) -> str:
    return f"objects/{object_id[7:9]}/{object_id[7:]}"


def many_files(number: int, *, seed: int) -> History:
    """Return a history of so many different files of some hundred bytes, in one commit."""
    made = random.Random(seed)
    history = History()
    history.commit({f"file{n}": made.randbytes(made.randint(2, 900)) for n in range(number)})
    return history


def rot(
    hub: Hub, contents: dict[str, bytes], object_ids: Collection[str], *, seed: int = 1
) -> dict[str, str]:
    """Flip a bit of objects, cut or delete them; return what is wrong with each."""
    made = random.Random(seed)
    wrong: dict[str, str] = {}
    for object_id in object_ids:
        wrong[object_id] = what = made.choice(["missing", "size", "hash"])
        content = bytearray(contents[object_id])
        match what:
            case "missing":
                hub.store.delete(key_of(object_id))
                continue
            case "size":
                del content[made.randrange(len(content)) :]
            case _:
                content[made.randrange(len(content))] ^= 1 << made.randrange(8)
        obstore.put(hub.store, key_of(object_id), bytes(content))
    return wrong


def stamps(hub: Hub) -> dict[str, Any]:
    """Return for each stored object what changes whenever it is written."""
    return {
        f"sha256:{entry['path'][-64:]}": (entry["e_tag"], entry["last_modified"])
        for chunk in hub.store.list("objects/")
        for entry in chunk
    }
