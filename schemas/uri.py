"""URIs in a job file: no credentials in them, and one spelling for one place."""

import os
import posixpath
import re
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

AZURE_SCHEMES = ("az", "abfs", "abfss")
STORE_SCHEMES = (("file",), ("s3", "s3a"), AZURE_SCHEMES, ("gs", "gcs"))
"""The schemes of each kind of store, as its backend in `storage/backends/` declares them. All
schemes of one kind name the same places."""
CANONICAL_SCHEMES = {scheme: schemes[0] for schemes in STORE_SCHEMES for scheme in schemes}
SIGNATURE = re.compile(
    r"[?&](sig|X-Amz-Signature|X-Goog-Signature|\w*token|\w*password)=", re.IGNORECASE
)
"""Query parameters of links that a store has signed."""
WINDOWS_PATH = re.compile(r"[A-Za-z]:\\")


def check_uri(uri: str) -> str:
    """The same URI.

    Raises:
        ValueError: It is empty, holds a NUL, or carries credentials, which would end up in logs
            and records.
    """
    if not uri.strip() or "\x00" in uri:
        raise ValueError("expected a URL or a path, found an empty one")

    if os.sep == "/" and WINDOWS_PATH.match(uri):
        raise ValueError("expected a path of this system, or a URL; found a path of Windows")

    if "://" in uri and _has_credentials(uri):
        raise ValueError(
            "carries credentials; put them into storage_options as ${ENV_NAME} instead"
        )

    return uri


class Place(NamedTuple):
    """The place that a URI names, whichever way the URI is spelled."""

    scheme: str
    """The first scheme of its kind of store; `file` for a path."""
    account: str
    """The Azure account. Empty: the URI does not name it."""
    path: str
    """From the bucket, the container or the root of the file system; no slash at the end."""


def place_of(uri: str) -> Place:
    """The place that a URI names.

    Symbolic links are not followed here; they are checked when the input is listed.
    """
    scheme, separator, rest = uri.partition("://")
    scheme = scheme.lower()

    if not separator:
        return Place("file", "", posixpath.abspath(uri).rstrip("/"))
    if scheme == "file":
        return Place("file", "", posixpath.abspath(unquote(urlsplit(uri).path)).rstrip("/"))

    account = ""
    if scheme in AZURE_SCHEMES:
        netloc, slash, path = rest.partition("/")
        container, _, host = netloc.rpartition("@")
        if container:
            account = host.split(".", 1)[0].lower()
            rest = f"{container}{slash}{path}"

    return Place(CANONICAL_SCHEMES.get(scheme, scheme), account, rest.rstrip("/"))


def contain_each_other(uri: str, other_uri: str) -> bool:
    """Whether two URIs name the same place, or one of them a folder of the other.

    An Azure account that only one of them names is taken for that of both.
    """
    place, other = place_of(uri), place_of(other_uri)

    if place.scheme != other.scheme:
        return False
    if place.account and other.account and place.account != other.account:
        return False

    path, other_path = f"{place.path}/", f"{other.path}/"
    return path.startswith(other_path) or other_path.startswith(path)


def _has_credentials(uri: str) -> bool:
    """Whether the URI names a user before the host, or carries a signature after the path."""
    split = urlsplit(uri)
    user, at_sign, host = split.netloc.rpartition("@")

    has_user = bool(at_sign) and not _is_azure_container(split, user, host)
    return has_user or SIGNATURE.search(uri) is not None


def _is_azure_container(split: SplitResult, user: str, host: str) -> bool:
    """Azure writes `container@account.dfs.core.windows.net`: a place, not a user."""
    is_account = split.scheme in AZURE_SCHEMES and re.search(r"\.(dfs|blob)\.", host) is not None
    return is_account and re.fullmatch(r"\$?[A-Za-z0-9-]+", user) is not None
