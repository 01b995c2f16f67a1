#!/usr/bin/env bash
# obstore 0.12.1, against an S3 endpoint that notes requests and answers 200.
#
# `put` takes mode="create" and use_multipart=True together without a word, and then sends all of it
# in one request: 12 MiB with a chunk size of 5 MiB are a single PUT with If-None-Match. With
# mode="overwrite" the same call is a multipart upload of three parts. So what is create-only holds
# its whole body in memory, and cannot be larger than S3's limit of one PUT.
#
# Seen:
#   create: PUT
#   overwrite: POST uploads, PUT part 1, PUT part 2, PUT part 3, POST complete
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check obstore==0.12.1
cat >"$folder/look.py" <<'PYTHON'
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

from obstore.store import S3Store

seen = []
UPLOAD = "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
COMPLETE = "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"


class Noting(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        body = b""
        if "uploads" in query:
            seen.append("POST uploads")
            body = UPLOAD.encode()
        elif self.command == "POST":
            seen.append("POST complete")
            body = COMPLETE.encode()
        elif "partNumber" in query:
            seen.append(f"PUT part {query['partNumber'][0]}")
        else:
            seen.append(self.command)
        self.send_response(200)
        self.send_header("ETag", '"e"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_POST = answer

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Noting)
Thread(target=server.serve_forever, daemon=True).start()
store = S3Store(
    "bucket",
    endpoint=f"http://127.0.0.1:{server.server_port}",
    region="us-east-1",
    access_key_id="key",
    secret_access_key="secret",
    client_options={"allow_http": True},
)
body = bytes(12 << 20)
for mode in ("create", "overwrite"):
    seen.clear()
    store.put("key", body, mode=mode, use_multipart=True, chunk_size=5 << 20, max_concurrency=1)
    print(f"{mode}: {', '.join(seen)}")
server.shutdown()
PYTHON
"$folder/venv/bin/python" "$folder/look.py" >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SEEN'
create: PUT
overwrite: POST uploads, PUT part 1, PUT part 2, PUT part 3, POST complete
SEEN
