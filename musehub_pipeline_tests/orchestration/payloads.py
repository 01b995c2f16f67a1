"""Payloads that no job may have: what is wrong, its code, and what the error names."""

from typing import Any

ID = "sha256:" + "0" * 64
BAD_PAYLOADS: dict[str, tuple[Any, str, str]] = {
    "no map": ([], "BAD_PAYLOAD", "payload"),
    "null": (None, "BAD_PAYLOAD", "payload"),
    "no key": ({}, "BAD_PAYLOAD", "mpack_key"),
    "key is null": ({"mpack_key": None}, "BAD_PAYLOAD", "mpack_key"),
    "key is a number": ({"mpack_key": 7}, "BAD_PAYLOAD", "mpack_key"),
    "key is short": ({"mpack_key": "sha256:00"}, "BAD_PAYLOAD", "mpack_key"),
    "key in capitals": ({"mpack_key": "AB" * 32}, "BAD_PAYLOAD", "mpack_key"),
    "key climbs": ({"mpack_key": "../../../etc/passwd"}, "BAD_PAYLOAD", "mpack_key"),
    "key ends a line": ({"mpack_key": ID + "\n"}, "BAD_PAYLOAD", "mpack_key"),
    "pusher is a number": ({"pusher_id": 7}, "BAD_PAYLOAD", "pusher_id"),
    "branch is a list": ({"branch": ["main"]}, "BAD_PAYLOAD", "branch"),
    "branch is long": ({"branch": "é" * 128}, "BAD_TEXT", "branch"),
    "head is a name": ({"branch": "main", "head": "HEAD"}, "BAD_PAYLOAD", "head"),
    "head is empty": ({"branch": "main", "head": ""}, "BAD_PAYLOAD", "head"),
    "head without branch": ({"head": ID}, "BAD_PAYLOAD", "head"),
    "head of no branch": ({"branch": "", "head": ID}, "BAD_PAYLOAD", "head"),
    "force is a word": ({"force": "yes"}, "BAD_PAYLOAD", "force"),
    "force is a number": ({"force": 1}, "BAD_PAYLOAD", "force"),
    "count is text": ({"declared_objects_count": "14"}, "BAD_PAYLOAD", "declared_objects_count"),
    "count is a part": ({"declared_objects_count": 1.5}, "BAD_PAYLOAD", "declared_objects_count"),
    "count is a bool": ({"declared_objects_count": True}, "BAD_PAYLOAD", "declared_objects_count"),
    "count is vast": ({"declared_objects_count": 10**30}, "COUNT_MISMATCH", "1" + "0" * 30),
    "count is off": ({"declared_objects_count": -1}, "COUNT_MISMATCH", "-1"),
}
