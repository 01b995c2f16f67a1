"""What tests of storage store: contents of every size, packed into one file."""

from hashlib import sha256

from musehub_pipeline.domain.places import Place, Places
from musehub_pipeline_tests.domain.reading import Bytes
from musehub_pipeline_tests.hub import Hub

LARGE = bytes(range(256)) * 36_000  # two parts of a multipart upload
CONTENTS = (b"", b"a", b"tone" * 5000, LARGE, LARGE[:-1], *(b"%d" % n for n in range(20)))


def hex_of(content: bytes) -> str:
    return sha256(content).hexdigest()


def key_of(content: bytes) -> str:
    return f"objects/{hex_of(content)[:2]}/{hex_of(content)}"


def packed(*contents: bytes) -> tuple[Bytes, Places]:
    """Return a file that holds the contents, and where each lies."""
    places = Places()
    offset = 5
    for content in contents:
        places.append(Place(sha256(content).digest(), offset, len(content)))
        offset += len(content)
    return Bytes(b"mpack" + b"".join(contents) + b"tail"), places


def stored(hub: Hub) -> dict[str, bytes]:
    return {object_id[-64:]: content for object_id, content in hub.stored_objects().items()}
