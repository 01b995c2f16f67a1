"""Names that a checkout or a reader can hold: paths of manifests, and branches.

The rules for paths are those of git's verify_path with core.protectHFS and core.protectNTFS on,
under the message ids of git's fsck; those for branches are of git's check-ref-format. In addition,
`.muse` is guarded as `.git` is, and a backslash separates too, as on Windows. Two backslashes in a
row, or one at the end, are allowed.
"""

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice, pairwise

from musehub_pipeline.domain.errors import Explained, Fault, Rejection

_SHOWN = 160  # characters of a path

_EMPTY = "//"
_PORTION = 256  # paths whose parts are in memory at a time
_REMEMBERED_BYTES = 8 << 20  # of remembered paths; they take some five times as much memory
_CROWDED = 2  # if old and new paths exceed this many times the manifest's, the old are forgotten
_FEW = 8  # if the new keys are fewer by this factor, each is looked up, instead of scanning all
_SMALL = 8  # if a manifest is smaller than the remembered paths by this factor, it goes alone


class PathFault(Explained):
    """Why no checkout may hold a path, by git's fsck message id."""

    EMPTY_NAME = "emptyName", "the path or a part of it is empty"
    FULL_PATHNAME = "fullPathname", "the path is absolute"
    HAS_DOT = "hasDot", "a part of it is ."
    HAS_DOTDOT = "hasDotdot", "a part of it is .."
    HAS_DOTGIT = "hasDotgit", "a part of it is .git, or a file system takes it for that"
    HAS_DOTMUSE = "hasDotmuse", "a part of it is .muse, or a file system takes it for that"
    DUPLICATE_ENTRIES = "duplicateEntries", "a file and a folder have this path"


# Each group is named for the fault that it finds in a part of a path. Letters are equal where a
# file system folds them: no dotless i is one, but where all of Unicode is folded, a long s is an s.
_GIT = r"(?ai:git)"
_MUSE = r"(?ai:mu)[sS\u017f](?ai:e)"
_NTFS_END = r"[ .]*(?::|\Z)"
_match_fault = re.compile(
    r"(?P<hasDot>\.)\Z|(?P<hasDotdot>\.\.)\Z"
    rf"|(?P<hasDotgit>\.{_GIT}|{_GIT}~1){_NTFS_END}"
    rf"|(?P<hasDotmuse>\.{_MUSE}|{_MUSE}~1){_NTFS_END}"
).match
# HFS+ does not see these. It has neither NTFS' short names nor its trailing dots.
_drop_ignored = re.compile(r"[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]").sub
_match_hfs_fault = re.compile(rf"\.(?:(?P<hasDotgit>{_GIT})|(?P<hasDotmuse>{_MUSE}))\Z").match

BRANCH_FAULTS = tuple(
    (re.compile(pattern).search, meaning)
    for pattern, meaning in (
        (r"\A\Z", "it is empty"),
        (r"\A(?:HEAD|@)\Z", "git means another thing by it"),
        (r"\A-", "it begins with a dash"),
        (r"\A/|/\Z|//", "a part of it is empty"),
        (r"(?:\A|/)\.", "a part of it begins with a dot"),
        (r"\.lock(?:/|\Z)", "a part of it ends with .lock"),
        (r"\.\Z", "it ends with a dot"),
        (r"\.\.", "it holds .."),
        (r"@\{", "it holds @{"),
        (r"[\x00-\x1f\x7f]", "it holds a control character"),
        (r"[ ~^:?*\[\\]", "it holds a blank or one of ~^:?*[\\"),
        (r"[\u202a-\u202e\u2066-\u2069]", "it holds what turns the direction of text"),
    )
)


def path_fault(path: str) -> PathFault | None:
    """Return why no checkout can hold a path, whatever lies beside it; None where all can."""
    if path.startswith(("/", "\\")):
        return PathFault.FULL_PATHNAME
    if not path or path.endswith("/") or _EMPTY in path:
        return PathFault.EMPTY_NAME
    return next(filter(None, map(_part_fault, _parts(path))), None)


def _parts(path: str) -> list[str]:
    return path.replace("\\", "/").split("/")


def _part_fault(part: str) -> PathFault | None:
    found = _match_fault(part)
    if found is None and not part.isascii() and (seen := _drop_ignored("", part)) != part:
        found = _match_hfs_fault(seen)
    return PathFault(str(found.lastgroup)) if found else None


def _path_faults(paths: Sequence[str]) -> Iterator[tuple[str, PathFault]]:
    """Yield what `path_fault` finds; a part that several paths share is looked at once."""
    for start in range(0, len(paths), _PORTION):
        some = paths[start : start + _PORTION]
        text = "/".join(["", *some, ""])
        find = _match_fault if text.isascii() else _part_fault
        if _EMPTY in text or "/\\" in text or any(map(find, set(_parts(text)))):
            yield from ((path, fault) for path in some if (fault := path_fault(path)))


def branch_fault(name: str) -> str | None:
    """Return why a name can be no branch, as words that go on after a colon; None where it can."""
    return next((meaning for find, meaning in BRANCH_FAULTS if find(name)), None)


class Manifests:
    """Judges the paths of one manifest after another, of which most repeat.

    If paths are valid together, so is every subset of them. Valid paths are remembered, up to a
    limit.
    """

    def __init__(self) -> None:
        self._fine: set[str] = set()
        self._keys: list[bytes] = []  # theirs, sorted

    def check(self, paths: Collection[str], *, longest: int) -> None:
        """Check that these are paths that a checkout can hold, and no longer than that.

        Raises:
            Rejection: BAD_TEXT, LIMIT_EXCEEDED or BAD_PATH.
        """
        if self._fine.issuperset(paths):
            return
        _check_texts(paths, longest=longest)
        _refuse_any(self.faults(paths))

    def faults(self, paths: Collection[str]) -> list[tuple[str, PathFault]]:
        """Return those of the paths, which hold no NUL, that no checkout can hold, and why."""
        if self._fine.issuperset(paths):
            return []
        new = [path for path in paths if path not in self._fine]
        found = list(_path_faults(new))
        if len(paths) * _SMALL < len(self._fine):  # too few to go over all the others
            return [*found, *_files_and_folders(sorted(map(_key, paths)))]
        new_keys = list(map(_key, new))
        keys = sorted([*self._keys, *new_keys])
        if _has_both(keys, new_keys) or len(keys) > _CROWDED * len(paths):
            self._fine, keys = set(), sorted(map(_key, paths))
            found += _files_and_folders(keys)
        if found or sum(map(len, keys)) > _REMEMBERED_BYTES:
            self._fine, self._keys = set(), []
        else:
            self._fine.update(paths if len(keys) == len(paths) else new)
            self._keys = keys
        return found


def check_paths(paths: Collection[str], *, longest: int) -> None:
    """Check that a checkout can hold each of some paths, whatever lies beside it.

    Raises:
        Rejection: BAD_TEXT, LIMIT_EXCEEDED or BAD_PATH.
    """
    _check_texts(paths, longest=longest)
    _refuse_any(_path_faults(list(paths)))


def check_files_and_folders(keys: list[bytes]) -> None:
    """Check that of the paths of a whole manifest, by their sorted keys, none is both.

    Raises:
        Rejection: BAD_PATH.
    """
    _refuse_any(_files_and_folders(keys))


def sort_key(path: bytes) -> bytes:
    """Return what sorts a path right before all that lies in it, and is the beginning of that."""
    return path.replace(b"/", b"\0") + b"\0"


def _key(path: str) -> bytes:
    return sort_key(path.encode())


def _check_texts(paths: Collection[str], *, longest: int) -> None:
    if any("\0" in path for path in paths):
        raise Rejection(Fault.BAD_TEXT, "manifest: a path holds NUL")
    if max(map(len, paths)) > longest:
        raise Rejection(
            Fault.LIMIT_EXCEEDED, f"manifest: a path is longer than {longest} characters"
        )


def _refuse_any(faults: Iterable[tuple[str, PathFault]]) -> None:
    for path, fault in faults:
        raise Rejection(Fault.BAD_PATH, f"manifest: {path!r:.{_SHOWN}}: {fault}, {fault.meaning}")


def _has_both(keys: list[bytes], new: list[bytes]) -> bool:
    """Tell whether, with the new keys, a path is a file and a folder."""
    if len(new) * _FEW > len(keys):
        return _any_begins(keys)
    places = (bisect_left(keys, key) for key in new)
    return any(_any_begins(keys[max(0, at - 1) : at + 2]) for at in places)


def _any_begins(keys: list[bytes]) -> bool:
    return any(map(bytes.startswith, islice(keys, 1, None), keys))


def _files_and_folders(keys: list[bytes]) -> Iterator[tuple[str, PathFault]]:
    for key, following in pairwise(keys):
        if following.startswith(key):
            yield key[:-1].replace(b"\0", b"/").decode(), PathFault.DUPLICATE_ENTRIES
