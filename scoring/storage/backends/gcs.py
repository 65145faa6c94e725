"""Google Cloud Storage."""

import json
from collections.abc import Mapping
from typing import Any

from nightscore.errors import InvalidJobError
from nightscore.storage.backends.generic import FsspecBackend
from nightscore.storage.options import (
    delta_endpoint,
    delta_patience,
    rename_options,
    select_options,
)
from nightscore.storage.protocol import TABLES_ONLY, ErrorCodes

_NAMES = {
    "token": "token",
    "service_account": "token",
    "service_account_path": "token",
    "application_credentials": "token",
    "service_account_key": "service_account_key",
    "project": "project",
    "endpoint_url": "endpoint_url",
    "anon": "anon",
    "skip_signature": "anon",
    "requester_pays": "requester_pays",
}
_FSSPEC_ONLY = (
    "access",
    "block_size",
    "consistency",
    "default_location",
    "session_kwargs",
    "timeout",
)
_FOR_FSSPEC = ("token", "project", "endpoint_url", "requester_pays", *_FSSPEC_ONLY)
_ANONYMOUS = "anon"
_FROM_ENVIRONMENT = (None, "google_default", "cloud")
"""Values of `token` that mean: what the environment has. object_store looks there by itself."""


class GoogleBackend(FsspecBackend):
    """A prefix of a bucket. See `Backend`."""

    schemes = ("gs", "gcs")
    capabilities = TABLES_ONLY
    has_buckets = True
    error_codes = ErrorCodes(
        libraries=("gcsfs", "google"),
        denying_types=("DefaultCredentialsError", "RefreshError", "ReauthFailError"),
        denying_prefixes=("Forbidden: ",),
    )

    @property
    def table_url(self) -> str:
        """The URI with the one scheme that the Delta library knows."""
        return self.url.replace("gcs://", "gs://", 1)

    @classmethod
    def fsspec_options(cls, account: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """See `FsspecBackend`."""
        names = _rename(options)
        if names.get("anon"):
            names["token"] = _ANONYMOUS
        elif "service_account_key" in names:
            names["token"] = _parse_key(names["service_account_key"])
        return select_options(names, _FOR_FSSPEC)

    @classmethod
    def delta_options(cls, account: str, options: Mapping[str, Any]) -> dict[str, str]:
        """See `FsspecBackend`."""
        names = _rename(options)
        mapped = delta_patience() | _delta_credentials(names)
        if endpoint := names.get("endpoint_url"):
            mapped |= delta_endpoint("google_base_url", endpoint)
        return mapped


def _rename(options: Mapping[str, Any]) -> dict[str, Any]:
    return rename_options(
        list(options.items()),
        prefixes=("google_",),
        names=_NAMES,
        unchanged=_FSSPEC_ONLY,
        store="Google Cloud Storage",
    )


def _delta_credentials(names: Mapping[str, Any]) -> dict[str, str]:
    token = names.get("token")
    if names.get("anon") or token == _ANONYMOUS:
        return {"google_skip_signature": "true"}

    if "service_account_key" in names:
        key = _parse_key(names["service_account_key"])
        return {"google_service_account_key": json.dumps(key)}

    if isinstance(token, Mapping):
        return {"google_service_account_key": json.dumps(dict(token))}
    if token in _FROM_ENVIRONMENT:
        return {}

    return {"google_application_credentials": str(token)}


def _parse_key(text: object) -> dict[str, Any]:
    """The members of a service account's key. Its text is never quoted."""
    try:
        key = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        key = None

    if isinstance(key, Mapping):
        return dict(key)

    raise InvalidJobError(
        "service_account_key in the job's storage_options is no key.",
        expected="the JSON document that Google gives for a service account",
        found="something else",
        next_step="correct storage_options in the job file, or name the key's file in "
        "service_account_path",
    )


BACKEND = GoogleBackend
