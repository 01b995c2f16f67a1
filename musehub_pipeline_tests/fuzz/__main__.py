"""Looks for mpacks that the pipeline stumbles over, guided by the code that they reach.

`make fuzz` runs it for a minute, `make fuzz ARGS=-max_total_time=3600` for an hour; it takes the
options of libFuzzer. What is found lies in `found/`, and the tests judge it from then on. What
leads to new code is kept in `.fuzz` for the next time.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["musehub_pipeline.domain", "musehub_pipeline.phases"]):
    from musehub_pipeline_tests.fuzz.choices import mpack_of
    from musehub_pipeline_tests.fuzz.judging import judge

_FOUND = Path(__file__).parent / "found"
_CORPUS = Path(".fuzz")
_OPTIONS = ("-max_total_time=60", "-max_len=4096", "-len_control=0", "-timeout=10")


def _judge(data: bytes) -> None:
    judge(mpack_of(data))


def main() -> None:
    """Run until the time is over, or something is found."""
    _CORPUS.mkdir(exist_ok=True)
    options = [*_OPTIONS, f"-artifact_prefix={_FOUND}/", *sys.argv[1:]]
    atheris.Setup([sys.argv[0], *options, str(_CORPUS), str(_FOUND)], _judge)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
