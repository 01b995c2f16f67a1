#!/usr/bin/env bash
# mkdocs 1.6.1.
#
# `mkdocs build --strict` fails where there are warnings. With --quiet it does not: --quiet has the logger drop
# warnings, and --strict counts those that the logger has let through. So `make docs` is not quiet.
#
# Seen:
#   --strict, a link that leads nowhere: exit code 1
#   --strict --quiet, a link that leads nowhere: exit code 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mkdocs==1.6.1
mkdir "$folder/docs"
echo 'site_name: example' >"$folder/mkdocs.yml"
echo '[nowhere](nowhere.md)' >"$folder/docs/index.md"
cd "$folder"
for options in --strict '--strict --quiet'; do
  code=0
  # shellcheck disable=SC2086 # options are words
  venv/bin/mkdocs build $options >/dev/null 2>&1 || code=$?
  echo "$options, a link that leads nowhere: exit code $code"
done >seen
cat seen
diff - seen <<'SEEN'
--strict, a link that leads nowhere: exit code 1
--strict --quiet, a link that leads nowhere: exit code 0
SEEN
