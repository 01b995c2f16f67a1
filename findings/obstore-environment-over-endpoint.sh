#!/usr/bin/env bash
# obstore 0.12.1: AWS_ENDPOINT_URL_S3 in the environment wins over `endpoint=`.
#
# Arguments of S3Store come before the environment, its documentation says. But the variable fills
# an option of its own, `aws_endpoint_url_s3`, which comes before `endpoint` wherever that was given:
# requests, and with them signatures, go to a server that was not named. Given as `aws_endpoint_url_s3=`, it is the argument that wins.
#
# Seen:
#   endpoint: environment
#   aws_endpoint_url_s3: argument
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check obstore==0.12.1
cat >"$folder/look.py" <<'PYTHON'
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from obstore.store import S3Store

seen = []


class Noting(BaseHTTPRequestHandler):
    def do_HEAD(self):
        seen.append(self.path.split("/")[1])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.send_header("Last-Modified", "Mon, 30 Nov 2026 07:00:00 GMT")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Noting)
Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
os.environ["AWS_ENDPOINT_URL_S3"] = f"{url}/environment"
for option in ("endpoint", "aws_endpoint_url_s3"):
    store = S3Store(
        "bucket",
        region="us-east-1",
        access_key_id="key",
        secret_access_key="secret",
        client_options={"allow_http": True},
        **{option: f"{url}/argument"},
    )
    store.head("key")
    print(f"{option}: {seen[-1]}")
server.shutdown()
PYTHON
"$folder/venv/bin/python" "$folder/look.py" >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SEEN'
endpoint: environment
aws_endpoint_url_s3: argument
SEEN
