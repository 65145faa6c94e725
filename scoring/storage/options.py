"""A job's storage_options, under the names that each library has for them.

fsspec reads and writes files, and delta-rs (object_store) commits to tables: they name the same things differently.
A job may use the names of either; what neither knows is refused, since it would have no effect.
"""

import json
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from nightscore.errors import InvalidJobError

S3_SCHEMES = ("s3", "s3a")
AZURE_SCHEMES = ("az", "abfs", "abfss")
GOOGLE_SCHEMES = ("gs", "gcs")

S3_PATIENCE: dict[str, Any] = {
    "connect_timeout": 5,
    "read_timeout": 20,
    "retries": {"total_max_attempts": 2, "mode": "standard"},
}
"""s3fs tries each request five times around botocore's two, also where an answer's body ended early: a store that
stalls for good is given up after 200 s."""

_S3_NAMES = {
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
_S3_NESTED = ("client_kwargs", "config_kwargs", "s3_additional_kwargs", "requester_pays", "use_ssl")

_AZURE_NAMES = {
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
"""Under fsspec's names. `endpoint` is object_store's URL of the account, `account_host` fsspec's host."""
_AZURE_FOR_FSSPEC = (
    "account_name", "account_key", "sas_token", "connection_string", "tenant_id", "client_id", "client_secret",
    "anon", "account_host",
)  # fmt: skip
_AZURE_FSSPEC_ONLY = (
    "assume_container_exists", "blocksize", "connection_timeout", "location_mode", "max_concurrency", "read_timeout",
    "socket_timeout", "timeout",
)  # fmt: skip
_AZURE_TABLES_ONLY = (
    "authority_host", "bearer_token", "federated_token_file", "identity_endpoint", "msi_endpoint", "object_id",
    "use_azure_cli", "use_emulator", "use_fabric_endpoint",
)  # fmt: skip
_AZURE_FOR_TABLES = (
    "account_name",
    "account_key",
    "sas_token",
    "tenant_id",
    "client_id",
    "client_secret",
)

_GOOGLE_NAMES = {
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
_GOOGLE_FSSPEC_ONLY = (
    "access",
    "block_size",
    "consistency",
    "default_location",
    "session_kwargs",
    "timeout",
)
_GOOGLE_FOR_FSSPEC = ("token", "project", "endpoint_url", "requester_pays")


def account_of(scheme: str, uri: str) -> str:
    """The storage account that an Azure URI names itself, as in `abfss://lake@account.dfs.core.windows.net/x`."""
    host = urlsplit(uri).hostname or ""
    if scheme not in AZURE_SCHEMES or not re.search(r"\.(dfs|blob)\.", host):
        return ""
    return host.split(".", 1)[0]


def fsspec_options(scheme: str, account: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as the fsspec file system of a scheme names them.

    Args:
        scheme: Of the URI.
        account: That the URI names itself; empty: none.
        options: Of the job, without references.

    Raises:
        InvalidJobError: Some are known to neither library; all of them are named.
    """
    if scheme in S3_SCHEMES:
        names, rest = _s3_names(options)
        client = {"region_name": names.get("region"), "verify": names.get("verify")}
        rest["client_kwargs"] = {key: value for key, value in client.items() if value is not None}
        rest["config_kwargs"] = S3_PATIENCE | dict(rest.get("config_kwargs") or {})
        return rest | _chosen(names, ("key", "secret", "token", "endpoint_url", "anon", "profile"))
    if scheme in AZURE_SCHEMES:
        names = _azure_names(account, options)
        return _chosen(names, _AZURE_FOR_FSSPEC + _AZURE_FSSPEC_ONLY)
    if scheme in GOOGLE_SCHEMES:
        names = _google_names(options)
        if names.get("anon"):
            names["token"] = "anon"  # noqa: S105 (a word, not a secret)
        elif "service_account_key" in names:
            names["token"] = _account_key(names["service_account_key"])
        return _chosen(names, _GOOGLE_FOR_FSSPEC + _GOOGLE_FSSPEC_ONLY)
    return dict(options)


def _account_key(text: object) -> Any:
    """The members of a service account's key; its text is told to nobody."""
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
        next_step="correct storage_options in the job file, or name the key's file in service_account_path",
    )


def table_options(scheme: str, uri: str, options: Mapping[str, Any]) -> dict[str, str]:
    """The same as object_store (delta-rs) names them, with the credentials that fsspec would find by itself on S3.

    Raises:
        InvalidJobError: Some are known to neither library; all of them are named.
    """
    if scheme in S3_SCHEMES:
        return _s3_table_options(options)
    if scheme in AZURE_SCHEMES:
        return _azure_table_options(_azure_names(account_of(scheme, uri), options))
    if scheme in GOOGLE_SCHEMES:
        return _google_table_options(_google_names(options))
    return {key: str(value) for key, value in options.items()}


def _s3_table_options(options: Mapping[str, Any]) -> dict[str, str]:
    names, rest = _s3_names(options)
    patience = S3_PATIENCE | dict(rest.get("config_kwargs") or {})
    found = _table_patience(patience) | {
        "conditional_put": "etag",
        "region": names.get("region") or _botocore("region") or "us-east-1",
    }
    endpoint = names.get("endpoint_url") or _botocore("endpoint_url")
    if endpoint:
        found["endpoint_url"] = str(endpoint)
        found["allow_http"] = str(str(endpoint).startswith("http://")).lower()
    if names.get("anon"):
        found["skip_signature"] = "true"
        return found
    for ours, theirs in (
        ("key", "access_key_id"),
        ("secret", "secret_access_key"),
        ("token", "session_token"),
    ):
        if names.get(ours):
            found[theirs] = str(names[ours])
    if "access_key_id" not in found:
        found |= _botocore_credentials(names.get("profile"))
    return found


def _table_patience(patience: Mapping[str, Any]) -> dict[str, str]:
    return {
        "timeout": f"{patience['read_timeout']}s",
        "connect_timeout": f"{patience['connect_timeout']}s",
        "max_retries": "4",
        "retry_timeout": "120s",
    }


def _azure_table_options(names: dict[str, Any]) -> dict[str, str]:
    if connection := names.get("connection_string"):
        names = _from_connection_string(str(connection)) | names
    found = _table_patience(S3_PATIENCE)
    found |= {
        f"azure_storage_{name}": str(names[name]) for name in _AZURE_FOR_TABLES if names.get(name)
    }
    found |= {name: str(names[name]) for name in _AZURE_TABLES_ONLY if name in names}
    endpoint = names.get("endpoint")
    if not endpoint and (host := names.get("account_host")):
        endpoint = host if "://" in str(host) else f"https://{host}"
    if endpoint:
        found["azure_storage_endpoint"] = str(endpoint)
        found["allow_http"] = str(str(endpoint).startswith("http://")).lower()
    if names.get("anon"):
        found["azure_skip_signature"] = "true"
    return found


def _google_table_options(names: dict[str, Any]) -> dict[str, str]:
    token = names.get("token")
    found = _table_patience(S3_PATIENCE)
    if names.get("anon") or token == "anon":  # noqa: S105 (a word, not a secret)
        found["google_skip_signature"] = "true"
    elif "service_account_key" in names:
        found["google_service_account_key"] = json.dumps(_account_key(names["service_account_key"]))
    elif isinstance(token, Mapping):
        found["google_service_account_key"] = json.dumps(dict(token))
    elif token in (None, "google_default", "cloud"):
        pass  # what the environment has: object_store looks there itself
    else:
        found["google_application_credentials"] = str(token)
    if endpoint := names.get("endpoint_url"):
        found["google_base_url"] = str(endpoint)
        found["allow_http"] = str(str(endpoint).startswith("http://")).lower()
    return found


def _s3_names(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    _check_kinds(options)
    client = dict(options.get("client_kwargs") or {})
    names = _renamed([*client.items(), *options.items()], ("aws_",), _S3_NAMES, "S3", _S3_NESTED)
    rest = {name: names.pop(name) for name in _S3_NESTED if name in names}
    return names, rest


def _azure_names(account: str, options: Mapping[str, Any]) -> dict[str, Any]:
    others = _AZURE_FSSPEC_ONLY + _AZURE_TABLES_ONLY
    names = _renamed(
        list(options.items()), ("azure_storage_", "azure_"), _AZURE_NAMES, "Azure", others
    )
    return ({"account_name": account} if account else {}) | names


def _google_names(options: Mapping[str, Any]) -> dict[str, Any]:
    return _renamed(
        list(options.items()),
        ("google_",),
        _GOOGLE_NAMES,
        "Google Cloud Storage",
        _GOOGLE_FSSPEC_ONLY,
    )


def _check_kinds(options: Mapping[str, Any]) -> None:
    """Refuse mappings in the place of values, and values in the place of mappings; their content stays untold."""
    problems = []
    for name, value in options.items():
        is_mapping = isinstance(value, Mapping)
        if name.endswith("_kwargs") and not (is_mapping or value is None):
            problems.append(f"{name}: expected a mapping, found {type(value).__name__}")
        elif not name.endswith("_kwargs") and (is_mapping or isinstance(value, list)):
            problems.append(f"{name}: expected a value, found {type(value).__name__}")
    if problems:
        raise InvalidJobError(
            "The job's storage_options are not of the kind that S3 takes.",
            problems=problems,
            next_step="correct storage_options in the job file",
        )


def _renamed(
    options: list[tuple[str, Any]],
    prefixes: tuple[str, ...],
    known: Mapping[str, str],
    store: str,
    as_they_are: tuple[str, ...],
) -> dict[str, Any]:
    """Options under one name each, of several that mean the same the last one."""
    names: dict[str, Any] = {}
    unknown = []
    for given, value in options:
        plain = given.lower()
        prefix = next((prefix for prefix in prefixes if plain.startswith(prefix)), "")
        plain = plain.removeprefix(prefix)
        if plain in known:
            names[known[plain]] = value
        elif plain in as_they_are:
            names[plain] = value
        else:
            unknown.append(given)
    if unknown:
        raise InvalidJobError(
            f"The job's storage_options have names that are not known for {store}.",
            found=", ".join(sorted(unknown)),
            expected=", ".join([*dict.fromkeys(known.values()), *as_they_are]),
            next_step="correct storage_options in the job file",
        )
    return names


def _chosen(names: Mapping[str, Any], wanted: tuple[str, ...]) -> dict[str, Any]:
    return {name: names[name] for name in wanted if names.get(name) is not None}


def _from_connection_string(text: str) -> dict[str, Any]:
    """What object_store takes by itself, of the parts that Azure's portal puts into one string."""
    pairs = [part.partition("=") for part in text.split(";") if "=" in part]
    parts = {name.strip().lower(): value.strip() for name, _, value in pairs}
    named = {
        "account_name": parts.get("accountname"),
        "account_key": parts.get("accountkey"),
        "sas_token": parts.get("sharedaccesssignature"),
        "endpoint": parts.get("blobendpoint"),
    }
    return {name: value for name, value in named.items() if value}


def _botocore(variable: str) -> str | None:
    import botocore.session

    if variable == "endpoint_url":
        return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    found = botocore.session.Session().get_config_variable(variable)
    return str(found) if found else None


def _botocore_credentials(profile: str | None) -> dict[str, str]:
    import botocore.session

    credentials = botocore.session.Session(profile=profile).get_credentials()
    if credentials is None:
        return {}
    frozen = credentials.get_frozen_credentials()
    found = {"access_key_id": frozen.access_key, "secret_access_key": frozen.secret_key}
    return found | ({"session_token": frozen.token} if frozen.token else {})
