"""How a storage URL and the usual AWS settings become an obstore client."""

import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from obstore.store import LocalStore, S3Store

from musehub_pipeline.domain.errors import SettingsError

Store = S3Store | LocalStore

_CONNECT_TIMEOUT = "10s"
_REQUEST_TIMEOUT = "3600s"  # of a whole request; an mpack of gigabytes is one
_READ_TIMEOUT = "60s"  # without a byte
_RETRY_TIMEOUT = timedelta(seconds=60)

_HOST = r"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?"
_ENDPOINT = re.compile(rf"(https?://)(?:[^/\s]*@)?({_HOST}(?:/[!-~]*)?)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class S3Options:
    """How to reach S3; the fields are those of dagster-aws' `S3Resource`.

    Raises:
        SettingsError: `endpoint_url` is no URL of a server.
    """

    region_name: str | None = None
    endpoint_url: str | None = None
    profile_name: str | None = None
    use_ssl: bool = True
    verify: bool | None = None
    use_unsigned_session: bool = False
    max_attempts: int = 5
    aws_access_key_id: str | None = field(default=None, repr=False)
    aws_secret_access_key: str | None = field(default=None, repr=False)
    aws_session_token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.endpoint_url is not None:
            object.__setattr__(self, "endpoint_url", parse_endpoint_url(self.endpoint_url))


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageUrl:
    """Where object storage is: a bucket and a prefix in it, or a directory."""

    bucket: str | None = None
    prefix: str = ""
    directory: Path | None = None


def parse_storage_url(url: str) -> StorageUrl:
    """Read ``s3://bucket/prefix`` or ``file:///directory``.

    Raises:
        SettingsError: `url` is neither.
    """
    parts = urlsplit(url)
    shown = url if "@" not in url else f"{parts.scheme}://…"  # a key may stand before it
    match parts.scheme:
        case "file" if parts.path.startswith("/") and not parts.netloc:
            return StorageUrl(directory=Path(unquote(parts.path)))
        case "s3" if parts.netloc and "@" not in parts.netloc:
            return StorageUrl(bucket=parts.netloc, prefix=parts.path.strip("/"))
        case _:
            raise SettingsError(
                f"MUSEHUB_STORAGE_URL: {shown!r} is neither s3://bucket/prefix nor file:///dir"
            )


def parse_endpoint_url(url: str) -> str:
    """Return the ``http://`` or ``https://`` URL of an S3 server without a login in it.

    Nothing would be sent of that, for requests are signed, but errors would show it.

    Raises:
        SettingsError: `url` is no such URL; the client would end the process for it.
    """
    if not (found := _ENDPOINT.fullmatch(url)):
        shown = re.sub(r"(\w+://)?.*@", r"\1…@", url, flags=re.DOTALL)
        raise SettingsError(f"AWS_ENDPOINT_URL: {shown!r:.80} is no http:// or https:// URL")
    scheme, rest = found.groups()
    return scheme.lower() + rest


def open_store(
    url: StorageUrl, s3: S3Options, *, connections: int, checksums: bool = False
) -> Store:
    """Return a client; with `checksums` it sends S3 the sha256 of all that it puts.

    Raises:
        FileNotFoundError: the directory does not exist; it is not made, for it may be a disk that
            is not mounted.
    """
    if url.bucket is not None:
        return _s3(url.bucket, url.prefix, s3, connections=connections, checksums=checksums)
    if url.directory is None or not url.directory.is_dir():
        raise FileNotFoundError(f"the directory {str(url.directory)!r} does not exist")
    return LocalStore(url.directory)


def _s3(bucket: str, prefix: str, s3: S3Options, *, connections: int, checksums: bool) -> S3Store:
    given: dict[str, Any] = {
        "region": s3.region_name,
        "aws_endpoint_url_s3": s3.endpoint_url,  # else the variable wins over what is given
        "access_key_id": s3.aws_access_key_id,
        "secret_access_key": s3.aws_secret_access_key,
        "session_token": s3.aws_session_token,
        "skip_signature": s3.use_unsigned_session or None,
        "checksum_algorithm": "sha256" if checksums else None,
    }
    plain_http = not s3.use_ssl or (s3.endpoint_url or "").startswith("http://")
    return S3Store(
        bucket,
        prefix=prefix or None,
        client_options={
            "allow_http": plain_http,
            "allow_invalid_certificates": s3.verify is False,
            "connect_timeout": _CONNECT_TIMEOUT,
            "timeout": _REQUEST_TIMEOUT,
            "read_timeout": _READ_TIMEOUT,
            "pool_max_idle_per_host": str(connections),
        },
        retry_config={"max_retries": s3.max_attempts - 1, "retry_timeout": _RETRY_TIMEOUT},
        credential_provider=_profile_credentials(s3.profile_name),
        **{name: value for name, value in given.items() if value is not None},
    )


def _profile_credentials(profile_name: str | None) -> Any:
    if profile_name is None:
        return None
    from boto3 import Session  # pyright: ignore[reportMissingTypeStubs]
    from obstore.auth.boto3 import Boto3CredentialProvider

    return Boto3CredentialProvider(Session(profile_name=profile_name))
