#!/usr/bin/env bash
# obstore 0.12.1, against a server that resets each connection once it has read the request.
#
# With a `retry_config` of three retries, `put` with mode="overwrite" is tried four times, as `get`
# and `head` are. With mode="create" it is tried once: the server may have done it, and a second try
# would then say that the object exists already. Whoever puts by the hash of the bytes would not
# mind; whoever does would have to ask. Refusals such as 503 are tried again in both modes.
#
# Seen:
#   create: 1
#   overwrite: 4
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check obstore==0.12.1
cat >"$folder/look.py" <<'PYTHON'
import socket
import struct
from threading import Thread

from obstore.exceptions import GenericError
from obstore.store import S3Store

requests = []
listener = socket.create_server(("127.0.0.1", 0))


def reset_all():
    while True:
        connection, _ = listener.accept()
        request = b""
        while not request.endswith(b"\r\n\r\nbytes"):
            request += connection.recv(65536)
        requests.append(request)
        # Without lingering, close sends a RST.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


Thread(target=reset_all, daemon=True).start()
store = S3Store(
    "bucket",
    endpoint=f"http://127.0.0.1:{listener.getsockname()[1]}",
    region="us-east-1",
    access_key_id="key",
    secret_access_key="secret",
    client_options={"allow_http": True},
    retry_config={"max_retries": 3},
)
for mode in ("create", "overwrite"):
    requests.clear()
    try:
        store.put("key", b"bytes", mode=mode, use_multipart=False)
    except GenericError:
        print(f"{mode}: {len(requests)}")
PYTHON
"$folder/venv/bin/python" "$folder/look.py" >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SEEN'
create: 1
overwrite: 4
SEEN
