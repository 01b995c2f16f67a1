"""mkdocs' hooks: links that leave docs/ work in the site as they do in the repository.

What they lead to is taken into the site, under `project/`: Markdown as a page, all else as a file.
The links are written for the repository, and are turned to the site's paths when a page is read.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parents[1]
_DOCS = "docs/"
_PROJECT = "project/"
_PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lies beside docs/: some pages, and whatever a page links to."""
    waiting = [*_PAGES, *(f"{_DOCS}{page.src_uri}" for page in files.documentation_pages())]
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in seen or not (_ROOT / path).is_file():  # mkdocs names a link that leads nowhere
            continue
        seen.add(path)
        if not path.startswith(_DOCS):
            file = File.generated(config, _site_path(path), abs_src_path=str(_ROOT / path))
            files.append(file)
        if path.endswith(".md"):
            waiting += _targets(path)
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn the links of a page."""
    place = page.file.src_uri
    path = place.removeprefix(_PROJECT) if place.startswith(_PROJECT) else _DOCS + place
    return _LINK.sub(lambda link: _turned(link[1], path, place), markdown)


def _targets(path: str) -> Iterator[str]:
    for link in _LINK.findall((_ROOT / path).read_text("utf-8")):
        yield _target(link, path)


def _target(link: str, path: str) -> str:
    """Return the path in the repository to which a file's link leads."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link))


def _turned(link: str, path: str, place: str) -> str:
    return posixpath.relpath(_site_path(_target(link, path)), posixpath.dirname(place) or ".")


def _site_path(path: str) -> str:
    return path.removeprefix(_DOCS) if path.startswith(_DOCS) else _PROJECT + path
