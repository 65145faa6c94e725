"""S3, and servers that speak its protocol."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from nightscore.errors import (
    ConflictError,
    InvalidJobError,
)
from nightscore.storage.backends.generic import FsspecBackend
from nightscore.storage.errors import is_absent, no_etags
from nightscore.storage.options import (
    PATIENCE,
    delta_endpoint,
    delta_patience,
    rename_options,
    select_options,
)
from nightscore.storage.protocol import FULL, NEEDS_ETAGS, WITHOUT_ETAG, ErrorCodes

BUSY_CODES = ("ConditionalRequestConflict", "OperationAborted")
"""Status 409: another request is changing the object."""

RETRIED_STATUSES = (429, 500, 502, 503, 504)
"""s3fs itself retries only what is called SlowDown. An answer without a body (to HEAD) has no
such name."""

_NAMES = {
    "key": "key",
    "access_key_id": "key",
    "secret": "secret",
    "secret_access_key": "secret",
    "token": "token",
    "session_token": "token",
    "endpoint_url": "endpoint_url",
    "endpoint": "endpoint_url",
    "region": "region",
    "region_name": "region",
    "default_region": "region",
    "anon": "anon",
    "skip_signature": "anon",
    "profile": "profile",
    "allow_http": "allow_http",
    "verify": "verify",
}
_NESTED = ("client_kwargs", "config_kwargs", "s3_additional_kwargs", "requester_pays", "use_ssl")
_FOR_FSSPEC = ("key", "secret", "token", "endpoint_url", "anon", "profile")
_DELTA_CREDENTIALS = {
    "key": "access_key_id",
    "secret": "secret_access_key",
    "token": "session_token",
}


class S3Backend(FsspecBackend):
    """A prefix of a bucket. See `Backend`."""

    schemes = ("s3", "s3a")
    capabilities = FULL
    needs_probe = True
    error_codes = ErrorCodes(
        libraries=("botocore", "aiobotocore", "s3fs"),
        absent=("NoSuchKey", "NoSuchBucket"),
        expired=(
            "ExpiredToken",
            "ExpiredTokenException",
            "TokenRefreshRequired",
            "InvalidToken",
            "RequestExpired",
        ),
        clock=("RequestTimeTooSkewed", "RequestInTheFuture"),
        denied=("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"),
        unexplained=("400",),  # to HEAD, which has no body that could say why
        denying_types=(
            "NoCredentialsError",
            "PartialCredentialsError",
            "CredentialRetrievalError",
            "ProfileNotFound",
            "SSOTokenLoadError",
            "TokenRetrievalError",
            "UnauthorizedSSOTokenError",
        ),
        busy=BUSY_CODES,
        precondition=("PreconditionFailed",),
        beyond_end=("InvalidRange",),
        missing_etag_keys=("ETag",),
    )

    @classmethod
    def fsspec_options(cls, account: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """See `FsspecBackend`."""
        names, nested = _rename(options)
        client = {"region_name": names.get("region"), "verify": names.get("verify")}
        nested["client_kwargs"] = select_options(client, tuple(client))
        nested["config_kwargs"] = PATIENCE | dict(nested.get("config_kwargs") or {})
        return nested | select_options(names, _FOR_FSSPEC)

    @classmethod
    def delta_options(cls, account: str, options: Mapping[str, Any]) -> dict[str, str]:
        """See `FsspecBackend`. Includes credentials that fsspec would find by itself."""
        names, nested = _rename(options)
        patience = PATIENCE | dict(nested.get("config_kwargs") or {})
        mapped = delta_patience(patience)
        mapped["conditional_put"] = "etag"
        mapped["region"] = names.get("region") or _configured_region() or "us-east-1"

        if endpoint := names.get("endpoint_url") or _configured_endpoint():
            mapped |= delta_endpoint("endpoint_url", endpoint)

        if names.get("anon"):
            return mapped | {"skip_signature": "true"}

        for name, delta_name in _DELTA_CREDENTIALS.items():
            if names.get(name):
                mapped[delta_name] = str(names[name])

        if "access_key_id" not in mapped:
            mapped |= _configured_credentials(names.get("profile"))

        return mapped

    @classmethod
    def prepare_library(cls) -> None:
        """Have s3fs retry what it would not retry itself."""
        import s3fs.core

        s3fs.core.set_custom_error_handler(is_retried)

    def has_files(self, prefix: str) -> bool:
        """See `Backend`."""
        bucket, _, key = self._locate(prefix).partition("/")
        answer = self.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{key}/", MaxKeys=1)
        return bool(answer.get("Contents"))

    def check_reachable(self) -> None:
        """See `Backend`."""
        self.fs.call_s3("head_bucket", Bucket=self.root.split("/", 1)[0])

    def delete(self, paths: Sequence[str]) -> None:
        """See `Backend`. Up to 1,000 files a request."""
        if paths:
            self.fs.rm([self._locate(path) for path in paths])

    def head(self, path: str) -> tuple[str, dict[str, str]] | None:
        """See `Backend`."""
        try:
            answer = self._call("head_object", path)
        except Exception as error:
            if is_absent(error):
                return None
            raise

        etag = str(answer.get("ETag") or "").strip('"')
        version = etag or f"{WITHOUT_ETAG}{answer.get('LastModified')}"

        return version, dict(answer.get("Metadata", {}))

    def replace(
        self, source: str, path: str, expected: str | None, metadata: Mapping[str, str]
    ) -> None:
        """See `Backend`. A copy on the server, on the condition of an ETag."""
        condition = {"IfNoneMatch": "*"}

        if expected is not None:
            condition = {"IfMatch": self._etag(expected, path)}

        bucket, _, key = source.partition("/")

        self._call(
            "copy_object",
            path,
            CopySource={"Bucket": bucket, "Key": key},
            MetadataDirective="REPLACE",
            Metadata=dict(metadata),
            **condition,
        )

    def create(self, path: str, data: bytes, *, is_durable: bool) -> None:
        """See `Backend`. Objects are always durable."""
        self._call("put_object", path, Body=data, IfNoneMatch="*")

    def swap(self, path: str, expected: bytes, data: bytes) -> None:
        """See `Backend`."""
        head = self.head(path)
        if head is None:
            raise self._replaced(path)

        etag = self._etag(head[0], path)
        if self._read_if_present(path) != expected:
            raise self._replaced(path)
        self._call("put_object", path, Body=data, IfMatch=etag)

    def _read_if_present(self, path: str) -> bytes | None:
        try:
            return self.read_bytes(path)
        except Exception as error:
            if is_absent(error):
                return None
            raise

    def _etag(self, version: str, path: str) -> str:
        """The version as a condition.

        Raises:
            StorageError: The store gave no ETag.
        """
        if version.startswith(WITHOUT_ETAG):
            raise no_etags(f"{self.url}/{path}", NEEDS_ETAGS)
        return f'"{version}"'

    def _replaced(self, path: str) -> ConflictError:
        return ConflictError("The object was replaced meanwhile.", f"{self.url}/{path}")

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        bucket, _, key = self._locate(path).partition("/")
        return dict(self.fs.call_s3(method, Bucket=bucket, Key=key, **arguments))


def is_retried(error: BaseException) -> bool:
    """Whether s3fs should try a request again."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return False
    is_busy = response.get("Error", {}).get("Code") in BUSY_CODES
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return is_busy or status in RETRIED_STATUSES


def _rename(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options, and apart from them those that hold options of a library."""
    _check_kinds(options)
    client = dict(options.get("client_kwargs") or {})
    names = rename_options(
        [*client.items(), *options.items()],
        prefixes=("aws_",),
        names=_NAMES,
        unchanged=_NESTED,
        store="S3",
    )
    nested = {name: names.pop(name) for name in _NESTED if name in names}

    return names, nested


def _check_kinds(options: Mapping[str, Any]) -> None:
    """Refuse mappings in place of values, and values in place of mappings.

    Their content may be secret, so it is not quoted.
    """
    problems = []

    for name, value in options.items():
        is_mapping = isinstance(value, Mapping)
        kind = type(value).__name__

        if name.endswith("_kwargs"):
            if not is_mapping and value is not None:
                problems.append(f"{name}: expected a mapping, found {kind}")
        elif is_mapping or isinstance(value, list):
            problems.append(f"{name}: expected a value, found {kind}")

    if problems:
        raise InvalidJobError(
            "The job's storage_options are not of the kind that S3 takes.",
            problems=problems,
            next_step="correct storage_options in the job file",
        )


def _configured_endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _configured_region() -> str | None:
    import botocore.session

    region = botocore.session.Session().get_config_variable("region")
    return str(region) if region else None


def _configured_credentials(profile: str | None) -> dict[str, str]:
    """Credentials as botocore finds them: environment, files, roles."""
    import botocore.session

    credentials = botocore.session.Session(profile=profile).get_credentials()
    if credentials is None:
        return {}

    frozen = credentials.get_frozen_credentials()
    options = {"access_key_id": frozen.access_key, "secret_access_key": frozen.secret_key}
    if frozen.token:
        options["session_token"] = frozen.token

    return options


BACKEND = S3Backend
