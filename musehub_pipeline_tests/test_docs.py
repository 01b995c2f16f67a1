"""The documentation says what the code does."""

import re
from dataclasses import fields
from fnmatch import fnmatch
from pathlib import Path

import pytest
import typer.main

from musehub_pipeline.audit.fsck import Invariant
from musehub_pipeline.cli.doctor import Finding
from musehub_pipeline.cli.main import app
from musehub_pipeline.domain.commit_meta import MAX_KEYS, MAX_VALUES
from musehub_pipeline.domain.errors import Fault, Trouble
from musehub_pipeline.domain.job import MAX_BRANCH_BYTES
from musehub_pipeline.domain.limits import MAX_GROWTH, Limits
from musehub_pipeline.domain.names import BRANCH_FAULTS, PathFault
from musehub_pipeline.domain.packed import MAX_DEPTH, MAX_FIELDS
from musehub_pipeline.domain.result import KEYS
from musehub_pipeline.postgres.schema import metadata
from musehub_pipeline.postgres.statements import statement
from musehub_pipeline.queue.jobs import JobOutcome, ListedJob
from musehub_pipeline.queue.reindex import PastDay, Standing
from musehub_pipeline.queue.stats import Stats
from musehub_pipeline.queue.status import QueueStatus
from musehub_pipeline.settings import Settings
from musehub_pipeline_tests.cli_reference import PAGE, reference
from musehub_pipeline_tests.pictures import FOLDER, PICTURES

ROOT = Path(__file__).parents[1]
BOUNDS = ("ge", "gt", "le")
PUT_OFF = {Trouble.LEASE_LOST, Trouble.EARLIER_JOB_UNFINISHED, Trouble.OVER_BATCH}  # never in a row
PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *sorted(
        str(path.relative_to(ROOT))
        for folder in ("docs", "deploy")
        for path in (ROOT / folder).rglob("*.md")
    ),
]
VARIABLES = {
    f"MUSEHUB_{name.upper()}": field.default
    for name, field in Settings.model_fields.items()
    if field.validation_alias is None
}


def test_every_reason_code_is_documented_with_its_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", (ROOT / "docs/reasons.md").read_text(), re.M)

    assert dict(rows) == {str(code): code.meaning for code in (*Fault, *Trouble)}


def test_every_variable_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()

    assert [name for name in VARIABLES if f"| `{name}` |" not in readme] == []


def test_every_knob_is_explained_with_its_default() -> None:
    knobs = (ROOT / "docs/operating.md").read_text().partition("## Knobs")[2]
    places = {"MUSEHUB_HOME"} | {name for name in VARIABLES if name.endswith("_URL")}

    assert [name for name in VARIABLES if f"`{name}`" not in knobs and name not in places] == []
    for name, default in VARIABLES.items():
        if isinstance(default, int) and not isinstance(default, bool):
            assert re.search(rf"`{name}` ({default}|{default:,})\b", knobs), name


def test_every_limit_is_in_the_table_of_the_mpack_with_its_default() -> None:
    section = (ROOT / "docs/mpack.md").read_text().partition("## Limits")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.*) \| ([\d,]+) \| (?:`(\w+)` )?\|$", section, re.M)

    limits = {name: int(number.replace(",", "")) for _, number, name in rows if name}
    constants = [int(number.replace(",", "")) for _, number, name in rows if not name]

    per_mpack = {f"MUSEHUB_MAX_{field.name.upper()}" for field in fields(Limits)}
    assert limits == {name: VARIABLES[name] for name in per_mpack}
    assert constants == [MAX_FIELDS, MAX_KEYS, MAX_VALUES, MAX_GROWTH]
    assert f"at most {MAX_BRANCH_BYTES} bytes" in section
    assert f"at most {MAX_DEPTH} deep" in section


def test_every_rule_for_names_is_in_a_table_with_its_meaning() -> None:
    section = (ROOT / "docs/mpack.md").read_text().partition("## Names")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| .* \|$", section, re.M)
    branches = re.findall(r"^\| (.*) \| .*\|$", section.partition("BAD_PAYLOAD")[2], re.M)

    assert dict(rows) == {str(fault): fault.meaning for fault in PathFault}
    assert branches == [meaning for _, meaning in BRANCH_FAULTS]


def test_there_is_advice_for_every_reason_that_a_failed_job_can_have() -> None:
    rows = (ROOT / "docs/operating.md").read_text().partition("## What to do about a reason")[2]
    patterns = re.findall(r"`([A-Z*_]+)`", rows.partition("\n## ")[0])

    unadvised = [
        str(code)
        for code in (*Fault, *Trouble)
        if code not in PUT_OFF and not any(fnmatch(code, pattern) for pattern in patterns)
    ]

    assert unadvised == []


def test_every_key_of_the_result_is_in_the_readme() -> None:
    words = set((ROOT / "README.md").read_text().split())

    assert [key for key in KEYS if key not in words] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)

    assert [t for t in targets if not ((ROOT / page).parent / t).exists()] == []


def test_the_pictures_that_pages_show_are_those_that_are_taken() -> None:
    taken = {f"{name}.png" for name in PICTURES}
    shown = {
        Path(target).name
        for page in PAGES
        for target in re.findall(r"!\[[^]]+\]\(([^)]*pictures/[^)]+)\)", (ROOT / page).read_text())
    }

    assert {path.name for path in FOLDER.iterdir()} == taken
    assert shown == taken


def test_the_reference_of_the_command_line_is_up_to_date() -> None:
    assert PAGE.read_text() == reference(), "python -m musehub_pipeline_tests.cli_reference"


@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/cli.md"])
def test_commands_that_are_shown_are_commands(page: str) -> None:
    """Each one that a block of code has names a command, and options that there are."""
    lines = re.findall(r"^ {4}musehub-pipeline (.*)$", (ROOT / page).read_text(), re.M)
    for line in lines:
        if re.search(r"  (?!#)", line):  # of a table, as `ps` prints one
            continue
        command, words = typer.main.get_command(app), line.partition("  #")[0].split()
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}

        assert not hasattr(command, "commands"), line
        assert {word for word in words if re.match("--?[a-z]", word)} <= options, line


def test_every_page_has_a_place_in_the_site() -> None:
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    pages = [str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")]

    assert [page for page in pages if f": {page}\n" not in nav] == []


def test_every_metric_is_in_its_table() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    rows = re.findall(r"^\| `(musehub_\w+?)(?:_total|_info)?` \|", page, re.M)
    source = (ROOT / "musehub_pipeline/cli/metrics.py").read_text()

    assert sorted(rows) == sorted(re.findall(r'"(musehub_\w+)"', source))


def test_every_column_is_in_the_page_of_the_tables() -> None:
    page = (ROOT / "docs/tables.md").read_text()

    assert [
        f"{table}.{column.name}"
        for table in metadata.sorted_tables
        for column in table.columns
        if f"`{table}`" not in page or f"`{column.name}`" not in page
    ] == []


def test_a_hub_is_told_to_write_what_push_writes() -> None:
    page = " ".join((ROOT / "docs/tables.md").read_text().split())
    columns = re.search(r"\(job_id.*?\)", statement("enqueue"), re.S)

    assert columns
    assert f"INSERT INTO musehub_background_jobs {' '.join(columns[0].split())}" in page


def test_every_field_of_json_is_in_its_page() -> None:
    words = set(re.findall(r"`(\w+)`", (ROOT / "docs/json.md").read_text()))
    kinds = (QueueStatus, Stats, ListedJob, PastDay, Standing, JobOutcome, Finding)

    assert [name for kind in kinds for name in kind.__annotations__ if name not in words] == []


def test_there_is_advice_for_every_breach() -> None:
    section = (ROOT / "docs/operating.md").read_text().partition("## Damage")[2]

    assert [name for name in Invariant if f"\n| `{name}` |" not in section] == []


def test_every_bound_of_a_setting_is_in_its_table() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    rows = re.findall(r"^\| (`MUSEHUB.*`) \| (?:more than )?(\d+) \| (\d*) ?\|$", page, re.M)

    bounds = {
        name: [int(bound) for bound in found if bound]
        for names, *found in rows
        for name in re.findall(r"`(\w+)`", names)
    }

    assert bounds == {
        f"MUSEHUB_{name.upper()}": found
        for name, field in Settings.model_fields.items()
        if (found := [getattr(m, k) for m in field.metadata for k in BOUNDS if hasattr(m, k)])
    }
