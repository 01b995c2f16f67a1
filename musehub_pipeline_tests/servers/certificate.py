"""A certificate for a server of this machine, which vouches for itself."""

import subprocess
from pathlib import Path

from musehub_pipeline_tests.servers import debian


def certify(certificate: Path, key: Path) -> None:
    """Make a key, and a certificate of it for 127.0.0.1."""
    kind = ["-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subject = ["-subj", "/CN=ui", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [debian.program("openssl"), "req", *kind, *subject, "-keyout", key, "-out", certificate],
        check=True,
        stderr=subprocess.DEVNULL,
    )
