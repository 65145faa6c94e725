"""URIs in a job file: no credentials in them, and one spelling for one place."""

import posixpath
import re
from urllib.parse import SplitResult, unquote, urlsplit

AZURE_SCHEMES = ("az", "abfs", "abfss")
SIGNATURE = re.compile(
    r"[?&](sig|X-Amz-Signature|X-Goog-Signature|\w*token|\w*password)=", re.IGNORECASE
)
"""Query parameters of links that a store has signed."""


def check_uri(uri: str) -> str:
    """The same URI.

    Raises:
        ValueError: It is empty, holds a NUL, or carries credentials, which would end up in logs
            and records.
    """
    if not uri.strip() or "\x00" in uri:
        raise ValueError("expected a URL or a path, found an empty one")

    if "://" in uri and _has_credentials(uri):
        raise ValueError(
            "carries credentials; put them into storage_options as ${ENV_NAME} instead"
        )

    return uri


def normalized_place(uri: str) -> str:
    """The place that a URI names, without a slash at the end.

    Symbolic links are not followed here; they are checked when the input is listed.
    """
    scheme, separator, rest = uri.partition("://")

    if not separator:
        return posixpath.abspath(uri).rstrip("/")
    if scheme == "file":
        return posixpath.abspath(unquote(urlsplit(uri).path)).rstrip("/")

    canonical_scheme = "s3" if scheme == "s3a" else scheme
    return f"{canonical_scheme}://{rest}".rstrip("/")


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
