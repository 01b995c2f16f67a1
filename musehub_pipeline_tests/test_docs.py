"""The documentation says what the code does."""

import re
from pathlib import Path

import pytest

from musehub_pipeline.domain.errors import Fault, Trouble
from musehub_pipeline.domain.result import KEYS
from musehub_pipeline.settings import Settings

ROOT = Path(__file__).parents[1]


def test_every_reason_code_is_documented_with_its_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", (ROOT / "docs/reasons.md").read_text(), re.M)

    assert dict(rows) == {str(code): code.meaning for code in (*Fault, *Trouble)}


def test_every_variable_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    variables = [
        f"MUSEHUB_{name.upper()}"
        for name, field in Settings.model_fields.items()
        if field.validation_alias is None
    ]

    assert [name for name in variables if f"| `{name}` |" not in readme] == []


def test_every_key_of_the_result_stands_in_the_readme() -> None:
    words = set((ROOT / "README.md").read_text().split())

    assert [key for key in KEYS if key not in words] == []


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = re.findall(r"\]\(([^)h][^)]*)\)", text)

    assert [t for t in targets if not ((ROOT / page).parent / t).exists()] == []
