"""fetch_mpack: from an S3 server on loopback to scratch, hashed on the way."""

import socket
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from musehub_pipeline.objects.object_storage import ObjectStorage
from musehub_pipeline_tests.benchmarks.bench import Bench, file_system
from musehub_pipeline_tests.benchmarks.figures import Figure, interleave, seconds, speed
from musehub_pipeline_tests.benchmarks.unpack import shape_of_objects

_CHUNK_BYTES = 1 << 20
_END = b"\r\n\r\n"


def fetch(bench: Bench) -> Iterator[Figure]:
    """Compare with a raw socket, sha256 and write in one loop, from the same server."""
    mpack = bench.mpack(shape_of_objects(bench))
    hex_digest = mpack.key[-64:]
    settings = bench.settings("postgresql:///", s3=bench.s3)
    url = presigned(bench, f"{settings.storage_url}/mpacks/{hex_digest}")
    scratch = bench.new_folder("fetch")
    with ObjectStorage(str(settings.storage_url), s3=settings.s3) as storage:
        storage.put_mpack(mpack.path, hex_digest)

        def ours() -> float:
            return fresh(
                scratch, lambda path: storage.fetch_mpack(hex_digest, path, limit=mpack.size_bytes)
            )

        def bare() -> float:
            return fresh(scratch, lambda path: copy(url, path, hex_digest=hex_digest))

        pairs = interleave(ours, bare, runs=bench.runs)
    yield speed(
        "fetch",
        f"{mpack.size_bytes / 1e6:,.0f} MB to scratch, against a raw socket copy with sha256",
        pairs,
        limit=0.7,
        note=f"{bench.s3_name}; {file_system(scratch)}",
    )


def presigned(bench: Bench, url: str) -> str:
    """Return a URL at which an object can be had without a client."""
    bucket, key = url.removeprefix("s3://").split("/", 1)
    client = bench.s3.client()
    try:
        return client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
    finally:
        client.close()


def fresh(folder: Path, work: Callable[[Path], object]) -> float:
    """Return how long it takes to write a new file, which is removed again."""
    path = folder / "mpack"
    try:
        return seconds(lambda: work(path))
    finally:
        path.unlink(missing_ok=True)


def copy(url: str, destination: Path, *, hex_digest: str) -> None:
    """Get a URL into a file over a bare socket, hashing what comes."""
    parts = urlsplit(url)
    request = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n"
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    digest = sha256()
    with (
        socket.create_connection((parts.hostname, parts.port)) as connection,
        destination.open("xb", buffering=0) as file,
    ):
        connection.sendall(request.encode())
        remaining, begun = _reply(connection)
        digest.update(begun)
        file.write(begun)
        remaining -= len(begun)
        while remaining:
            received = buffer[: connection.recv_into(buffer)]
            digest.update(received)
            file.write(received)
            remaining -= len(received)
    assert digest.hexdigest() == hex_digest


def _reply(connection: socket.socket) -> tuple[int, bytes]:
    """Read the head of a reply; return the length of its body, and what has come of that."""
    received = b""
    while _END not in received:
        received += connection.recv(_CHUNK_BYTES)
    head, begun = received.split(_END, 1)
    status, *lines = head.split(b"\r\n")
    assert b" 200 " in status, status
    headers = dict(line.lower().split(b": ", 1) for line in lines)
    return int(headers[b"content-length"]), begun
