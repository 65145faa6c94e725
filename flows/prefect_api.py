"""Prefect's API: requests with the user's own settings, and errors that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Protocol, cast

from httpx import HTTPError, HTTPStatusError
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_API_URL

from nightscore.errors import DeploymentError


class Api(Protocol):
    """What is asked of a server."""

    def get(self, path: str) -> Any:
        """The answer; None if there is no such thing."""

    def send(self, method: str, path: str, body: Any) -> Any:
        """The answer to a request that may change something; None if it is empty."""


class PrefectApi:
    """The server that PREFECT_API_URL or the profile names, with its credentials."""

    def __init__(self, client: Any) -> None:
        """Use a client of Prefect, which is open."""
        self._client = client

    def get(self, path: str) -> Any:
        """The answer; None if there is no such thing."""
        try:
            return self._client.request("GET", path).json()
        except HTTPStatusError as refused:
            if refused.response.status_code == HTTPStatus.NOT_FOUND:
                return None
            raise

    def send(self, method: str, path: str, body: Any) -> Any:
        """The answer to a request that may change something; None if it is empty."""
        answer = self._client.request(method, path, json=body)
        return answer.json() if answer.content else None


@contextmanager
def prefect_api() -> Iterator[Api]:
    """The API of the user's server.

    Raises:
        DeploymentError: No server is named, it does not answer, or it refuses.
    """
    url = server_url()
    try:
        with get_client(sync_client=True) as client:
            yield PrefectApi(client)
    except (PrefectException, HTTPError, OSError) as error:
        raise refusal(url, error) from error


def server_url() -> str:
    """The URL of the API of the user's server.

    Raises:
        DeploymentError: None is named.
    """
    url = PREFECT_API_URL.value()

    if not url:
        raise DeploymentError(
            "PREFECT_API_URL is not set; nothing was changed.",
            expected="the API of a Prefect server",
            next_step="export PREFECT_API_URL=http://127.0.0.1:4200/api, where `nightscore up` "
            "starts a server unless you give it another port (`nightscore status` shows its "
            "address), or the URL of your own",
        )

    return str(url)


def refusal(url: str, error: Exception) -> DeploymentError:
    """The error of a server that does not answer, or refuses."""
    if isinstance(error, HTTPStatusError):
        request, answer = error.request, error.response
        return DeploymentError(
            "The Prefect server refuses a request. What was changed before stays changed.",
            url,
            expected=f"{request.method} {request.url.path} to be accepted",
            found=f"HTTP {answer.status_code}: {_text_of(cast(Any, answer))}",
            next_step="check that its version is that of this Prefect, and the rights of your key; "
            "then run the command again",
        )

    return DeploymentError(
        "The Prefect server does not answer.",
        url,
        found=f"{type(error).__name__}: {error}",
        next_step="check PREFECT_API_URL and the server; then run the command again",
    )


def _text_of(answer: Any) -> str:
    text = str(answer.text)
    return text if len(text) <= 300 else f"{text[:300]}…"
