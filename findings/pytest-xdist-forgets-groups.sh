#!/usr/bin/env bash
# pytest 9.1.1 and 9.2.0 with pytest-xdist 3.8.0.
#
# pytest-xdist keeps the tests of a group in one process, under --dist loadgroup. With pytest 9.2 it spreads them
# over all processes, and says nothing: tests pass, and what they share is started in each process.
#
# Seen:
#   pytest 9.1.1: 8 passed, in 1 process
#   pytest 9.2.0: 8 passed, in 2 processes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
cat >"$folder/test_group.py" <<'PYTHON'
import os
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("all")


@pytest.mark.parametrize("number", range(8))
def test_where(number: int) -> None:
    time.sleep(0.2)
    Path(os.environ["SEEN"], os.environ["PYTEST_XDIST_WORKER"]).touch()
PYTHON
for version in 9.1.1 9.2.0; do
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "pytest==$version" pytest-xdist==3.8.0
  export SEEN="$folder/$version"
  mkdir "$SEEN"
  passed=$(cd "$folder" && "$folder/venv/bin/python" -m pytest -q -p no:cacheprovider \
    --numprocesses 2 --dist loadgroup test_group.py | grep -o '[0-9]* passed')
  processes=$(find "$SEEN" -type f | wc -l)
  echo "pytest $version: $passed, in $processes $([ "$processes" = 1 ] && echo process || echo processes)"
done | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN'
pytest 9.1.1: 8 passed, in 1 process
pytest 9.2.0: 8 passed, in 2 processes
SEEN
