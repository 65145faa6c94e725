"""Recognises a store that nobody could connect to, and names it rather than one path on it."""

import re
from urllib.parse import urlsplit

from nightscore.errors import StorageUnavailableError

_CONNECTING = (
    "EndpointConnectionError",
    "ConnectTimeoutError",
    "ClientConnectorError",
    "ClientConnectorDNSError",
    "ClientProxyConnectionError",
    "ConnectionRefusedError",
    "NewConnectionError",
    "NameResolutionError",
    "client error (Connect)",
    "tcp connect error",
    "dns error",
)
"""How botocore, aiohttp, urllib3 and delta-rs call it that no connection was made."""

_SERVER = re.compile(r"https?://[^/\s\"'?]+")


def unreachable_store(where: str, detail: str) -> StorageUnavailableError | None:
    """The error for a store that cannot be reached. None: it is another failure.

    Args:
        where: The URL that was asked for.
        detail: What a library says, its exception's name included.
    """
    parts = urlsplit(where)
    is_remote = bool(parts.scheme and parts.netloc)
    if not is_remote or not any(words in detail for words in _CONNECTING):
        return None

    server = _SERVER.search(detail)
    shown = f" at {server[0]}" if server else ""

    return StorageUnavailableError(
        f"The object store{shown} cannot be reached: no connection was made.",
        f"{parts.scheme}://{parts.netloc}",
        found=_reason(detail),
        next_step="check that the store runs and that this host reaches it; its address is "
        "`endpoint_url` in storage_options of the job file, or that of the cloud; then run again",
    )


def _reason(detail: str) -> str:
    """Why there was no connection, without the URL of the request."""
    innermost = detail.rpartition("↳ ")[2]
    server = _SERVER.search(innermost)
    reason = innermost[: server.start()] if server else innermost
    return reason.strip(' :"')[:200]
