#!/usr/bin/env bash
# rich 15.0.0.
#
# Where TERM is dumb, as in many editors and job runners, rich's console is 80 columns wide, whatever the
# terminal's size and COLUMNS are, and even where it is made with a width: that counts only together with a
# height. On any other terminal a width alone does.
#
# Seen, of a terminal, with COLUMNS=120:
#   TERM=xterm: 120; with width=100: 100; with width=100 and height=25: 100
#   TERM=dumb: 80; with width=100: 80; with width=100 and height=25: 100
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check rich==15.0.0
cat >"$folder/look.py" <<'PYTHON'
import os

from rich.console import Console

plain = Console(force_terminal=True).width
wide = Console(force_terminal=True, width=100).width
both = Console(force_terminal=True, width=100, height=25).width
print(f"TERM={os.environ['TERM']}: {plain}; with width=100: {wide}; with width=100 and height=25: {both}")
PYTHON
for term in xterm dumb; do
  TERM=$term COLUMNS=120 "$folder/venv/bin/python" "$folder/look.py"
done >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SEEN'
TERM=xterm: 120; with width=100: 100; with width=100 and height=25: 100
TERM=dumb: 80; with width=100: 80; with width=100 and height=25: 100
SEEN
