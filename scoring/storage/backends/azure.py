"""Azure Blob Storage and Data Lake Storage."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from nightscore.storage.backends.generic import FsspecBackend
from nightscore.storage.options import (
    delta_endpoint,
    delta_patience,
    rename_options,
    select_options,
)
from nightscore.storage.protocol import TABLES_ONLY, ErrorCodes

_NAMES = {
    "account_name": "account_name",
    "account_key": "account_key",
    "access_key": "account_key",
    "master_key": "account_key",
    "sas_token": "sas_token",
    "sas_key": "sas_token",
    "connection_string": "connection_string",
    "tenant_id": "tenant_id",
    "authority_id": "tenant_id",
    "client_id": "client_id",
    "client_secret": "client_secret",
    "anon": "anon",
    "skip_signature": "anon",
    "account_host": "account_host",
    "endpoint": "endpoint",
    "allow_http": "allow_http",
}
"""fsspec's names. `endpoint` is object_store's URL of the account, `account_host` fsspec's host."""
_FSSPEC_ONLY = (
    "assume_container_exists",
    "blocksize",
    "connection_timeout",
    "location_mode",
    "max_concurrency",
    "read_timeout",
    "socket_timeout",
    "timeout",
)
_DELTA_ONLY = (
    "authority_host",
    "bearer_token",
    "federated_token_file",
    "identity_endpoint",
    "msi_endpoint",
    "object_id",
    "use_azure_cli",
    "use_emulator",
    "use_fabric_endpoint",
)
_CREDENTIALS = (
    "account_name",
    "account_key",
    "sas_token",
    "tenant_id",
    "client_id",
    "client_secret",
)
_FOR_FSSPEC = (*_CREDENTIALS, "connection_string", "anon", "account_host", *_FSSPEC_ONLY)


class AzureBackend(FsspecBackend):
    """A folder of a container. See `Backend`."""

    schemes = ("az", "abfs", "abfss")
    capabilities = TABLES_ONLY
    has_buckets = True
    error_codes = ErrorCodes(
        libraries=("azure", "adlfs"),
        absent=(
            "BlobNotFound",
            "ContainerNotFound",
            "FilesystemNotFound",
            "PathNotFound",
            "ResourceNotFound",
        ),
        denied=(
            "AuthenticationFailed",
            "AuthorizationFailure",
            "AuthorizationPermissionMismatch",
            "InvalidAuthenticationInfo",
            "NoAuthenticationInformation",
            "AccountIsDisabled",
        ),
        denying_types=("ClientAuthenticationError", "CredentialUnavailableError"),
        precondition=("ConditionNotMet",),
    )

    @classmethod
    def account_in(cls, uri: str) -> str:
        """See `FsspecBackend`. As in `abfss://lake@account.dfs.core.windows.net/x`."""
        host = urlsplit(uri).hostname or ""
        if not re.search(r"\.(dfs|blob)\.", host):
            return ""
        return host.split(".", 1)[0]

    @classmethod
    def fsspec_options(cls, account: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """See `FsspecBackend`."""
        return select_options(_rename(account, options), _FOR_FSSPEC)

    @classmethod
    def delta_options(cls, account: str, options: Mapping[str, Any]) -> dict[str, str]:
        """See `FsspecBackend`."""
        names = _rename(account, options)
        if connection := names.get("connection_string"):
            names = _parse_connection_string(str(connection)) | names

        mapped = delta_patience()

        for name in _CREDENTIALS:
            if names.get(name):
                mapped[f"azure_storage_{name}"] = str(names[name])

        for name in _DELTA_ONLY:
            if name in names:
                mapped[name] = str(names[name])

        if endpoint := names.get("endpoint") or _endpoint_of_host(names.get("account_host")):
            mapped |= delta_endpoint("azure_storage_endpoint", endpoint)

        if names.get("anon"):
            mapped["azure_skip_signature"] = "true"

        return mapped


def _rename(account: str, options: Mapping[str, Any]) -> dict[str, Any]:
    names = rename_options(
        list(options.items()),
        prefixes=("azure_storage_", "azure_"),
        names=_NAMES,
        unchanged=_FSSPEC_ONLY + _DELTA_ONLY,
        store="Azure",
    )
    return {"account_name": account} | names if account else names


def _endpoint_of_host(host: object) -> str:
    if not host:
        return ""
    return str(host) if "://" in str(host) else f"https://{host}"


def _parse_connection_string(text: str) -> dict[str, Any]:
    """The parts that object_store takes, of the string that Azure's portal shows."""
    pairs = [part.partition("=") for part in text.split(";") if "=" in part]
    parts = {name.strip().lower(): value.strip() for name, _, value in pairs}
    options = {
        "account_name": parts.get("accountname"),
        "account_key": parts.get("accountkey"),
        "sas_token": parts.get("sharedaccesssignature"),
        "endpoint": parts.get("blobendpoint"),
    }
    return {name: value for name, value in options.items() if value}


BACKEND = AzureBackend
