"""Git repositories to pack, and what Muse makes of their contents, written out by hand."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgpack

DATE = "2024-05-01T12:00:00+02:00"
AUTHOR = "Ada Lovelace <ada@example.org>"
SIGNATURE = b"Ada Lovelace <ada@example.org> 1714557600 +0200"  # AUTHOR at DATE
ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada Lovelace",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "2024-05-01T11:00:00+02:00",
    "GIT_COMMITTER_NAME": "Charles Babbage",
    "GIT_COMMITTER_EMAIL": "charles@example.org",
    "GIT_COMMITTER_DATE": DATE,
}


class Git:
    """A repository, written by the git command."""

    def __init__(self, path: Path, *, object_format: str = "sha1") -> None:
        self.path = path
        path.mkdir()
        self("init", "--quiet", "--initial-branch=main", f"--object-format={object_format}")

    def __call__(
        self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] = {}
    ) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            input=stdin,
            stdout=subprocess.PIPE,
            env={**os.environ, **ENVIRONMENT, **environment},
            check=True,
        )
        return done.stdout.decode().strip()

    def commit(self, message: str, files: Mapping[str, bytes], *, date: str = DATE) -> str:
        for path, content in files.items():
            file = self.path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        self("add", "--all")
        self(
            "commit",
            "--quiet",
            "--allow-empty",
            "--message",
            message,
            environment={"GIT_COMMITTER_DATE": date},
        )
        return self("rev-parse", "HEAD")

    def merge(self, *branches: str) -> str:
        self("merge", "--quiet", "--no-ff", "--message", "merge", *branches)
        return self("rev-parse", "HEAD")

    def import_commit(self, *changes: bytes, branch: bytes = b"main") -> str:
        """Commit what no file system may hold, the way `git fast-import` spells it."""
        header = b"commit refs/heads/%s\ncommitter %s\ndata 3\nodd\n" % (branch, SIGNATURE)
        self(
            "fast-import", "--quiet", stdin=header + b"".join(change + b"\n" for change in changes)
        )
        return self("rev-parse", branch.decode())

    def store(self, kind: str, raw: bytes) -> str:
        return self("hash-object", "-t", kind, "-w", "--literally", "--stdin", stdin=raw)


def muse_id(*fields: str | bytes) -> str:
    raw = b"\0".join(field if isinstance(field, bytes) else field.encode() for field in fields)
    return "sha256:" + sha256(raw).hexdigest()


def muse_object(content: bytes, path: str) -> dict[str, Any]:
    return {"object_id": muse_id(content), "path": path, "content": content}


def muse_snapshot(files: Mapping[str, bytes], created_at: str = DATE) -> dict[str, Any]:
    manifest = {path: muse_id(content) for path, content in sorted(files.items())}
    snapshot_id = muse_id(*(field for pair in manifest.items() for field in pair))
    return {"snapshot_id": snapshot_id, "manifest": manifest, "created_at": created_at}


def muse_commit(
    git_commit: str,
    message: str,
    files: Mapping[str, bytes],
    *,
    parents: Sequence[dict[str, Any]] = (),
    branch: str = "main",
    **overrides: Any,
) -> dict[str, Any]:
    parent_ids = [parent["commit_id"] for parent in parents]
    commit = {
        "commit_id": "",
        "branch": branch,
        "snapshot_id": muse_snapshot(files)["snapshot_id"],
        "message": message,
        "committed_at": DATE,
        "parent_commit_id": parent_ids[0] if parent_ids else None,
        "parent2_commit_id": parent_ids[1] if len(parent_ids) > 1 else None,
        "author": AUTHOR,
        "metadata": {"git_commit": git_commit},
        "structured_delta": None,
        "sem_ver_bump": "none",
        "breaking_changes": [],
        "agent_id": "",
        "model_id": "",
        "toolchain_id": "",
        "prompt_hash": "",
        "signature": "",
        "signer_key_id": "",
    } | overrides
    hashed = [commit[key] for key in ("snapshot_id", "message", "committed_at", "author")]
    return commit | {"commit_id": muse_id("\0".join(sorted(parent_ids)), *hashed)}


def read(mpack: Path) -> dict[str, Any]:
    return msgpack.unpackb(mpack.read_bytes())


def files_of(mpack: Path) -> list[dict[str, bytes]]:
    """Return the files of each snapshot, path → content."""
    content = {each["object_id"]: each["content"] for each in read(mpack)["objects"]}
    manifests = [snapshot["manifest"] for snapshot in read(mpack)["snapshots"]]
    return [{path: content[oid] for path, oid in manifest.items()} for manifest in manifests]
