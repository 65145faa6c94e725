"""Asks a tracking server for JSON, with a bound on how long and how large its answer may be.

A server may be slow, broken, or not the one you think it is. So an answer is read within a time and
    a size,
and a redirect to another server is refused: it would be sent the credentials of the first one.
"""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import wait
from typing import Any, TypeVar

from nightscore.errors import StorageUnavailableError
from nightscore.process import start_daemon

T = TypeVar("T")

CONNECT_TIMEOUT_S = 30
"""For each wait on the connection."""
ANSWER_TIMEOUT_S = 45.0
"""For the whole answer. MLflow takes milliseconds; a byte at a time is cut off."""
MAX_ANSWER_BYTES = 32 << 20
"""A thousand versions, each with a description of 5,000 characters and as many tags, are 20 MB."""
MAX_SHOWN_CHARACTERS = 200


class UnexpectedAnswerError(Exception):
    """The server answered with something that is not what the interface documents."""


def get_json(
    url: str, headers: Mapping[str, str], shown: str, patience_s: float | None = None
) -> dict[str, Any] | None:
    """The JSON object at a URL; None where the server says that there is no such thing.

    Args:
        url: With its query.
        headers: Credentials included. They are sent to this server only.
        shown: How errors name the server: without credentials.
        patience_s: Seconds for the whole answer; None: `ANSWER_TIMEOUT_S`.

    Raises:
        StorageUnavailableError: It refused, redirected elsewhere, did not answer in time, or
            answered with
            something other than a JSON object.
    """
    seconds = ANSWER_TIMEOUT_S if patience_s is None else patience_s
    try:
        return _within(seconds, lambda: _get(url, headers))
    except urllib.error.HTTPError as error:
        if 300 <= error.code < 400:
            raise _redirected(error, shown) from error

        raise StorageUnavailableError(
            "The model registry refused the request.",
            shown,
            found=f"HTTP {error.code}: {error.reason}"[:MAX_SHOWN_CHARACTERS],
            next_step="check the registry's URI and MLFLOW_TRACKING_USERNAME / _PASSWORD / _TOKEN",
        ) from error
    except UnexpectedAnswerError as error:
        raise unexpected_answer(str(error), shown) from error
    except TimeoutError as error:
        raise StorageUnavailableError(
            "The model registry did not answer in time.",
            shown,
            expected=f"a complete answer within {seconds:g} s",
            found=str(error) or "the connection timed out",
            next_step="check the MLflow server and the network, then run again",
        ) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise StorageUnavailableError(
            "The model registry did not answer.",
            shown,
            found=str(error)[:MAX_SHOWN_CHARACTERS],
            next_step="check that the MLflow server runs, and the `registry` key of the job file",
        ) from error


def unexpected_answer(problem: str, shown: str) -> StorageUnavailableError:
    """The error for an answer that the interface does not document."""
    return StorageUnavailableError(
        "The model registry returned an unexpected response.",
        shown,
        expected="the JSON that MLflow's REST interface documents",
        found=problem[:MAX_SHOWN_CHARACTERS],
        next_step="check that the `registry` key of the job file names an MLflow server",
    )


class _SameServer(urllib.request.HTTPRedirectHandler):
    """Follows redirects within one server only: urllib sends the Authorization header anywhere."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if _origin(req.full_url) != _origin(newurl):
            return None  # the redirect itself then arrives as an HTTPError
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urllib.parse.urlsplit(url)
    default_port = 443 if parts.scheme == "https" else 80
    return parts.scheme, parts.hostname, parts.port or default_port


def _get(url: str, headers: Mapping[str, str]) -> dict[str, Any] | None:
    request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310 (the job names the server)

    opener = urllib.request.build_opener(_SameServer)
    try:
        with opener.open(request, timeout=CONNECT_TIMEOUT_S) as answer:
            return _parse(answer.read(MAX_ANSWER_BYTES + 1))
    except urllib.error.HTTPError as error:
        with error:
            body = error.read(MAX_ANSWER_BYTES).decode(errors="replace")
        if error.code == 404 or "RESOURCE_DOES_NOT_EXIST" in body or "not found" in body:
            return None
        if error.code >= 400:
            error.msg = f"{error.msg} {body}"  # `reason` of the error: what the server had to say
        raise


def _parse(content: bytes) -> dict[str, Any]:
    if len(content) > MAX_ANSWER_BYTES:
        raise UnexpectedAnswerError(f"more than {MAX_ANSWER_BYTES >> 20} MiB")

    try:
        document = json.loads(content)
    except RecursionError as error:
        raise UnexpectedAnswerError("JSON that is nested too deeply") from error
    except ValueError as error:
        start = content[:80].decode(errors="replace")
        raise UnexpectedAnswerError(f"text that is not JSON, beginning with {start!r}") from error

    if not isinstance(document, dict):
        raise UnexpectedAnswerError(f"JSON of another type: {type(document).__name__}")

    return document


def _redirected(error: urllib.error.HTTPError, shown: str) -> StorageUnavailableError:
    target = urllib.parse.urlsplit(error.headers.get("Location", ""))
    place = f"{target.scheme}://{target.hostname}{f':{target.port}' if target.port else ''}"
    return StorageUnavailableError(
        "The model registry redirects to another server; no credentials were sent there.",
        shown,
        expected="an answer, or a redirect within the same scheme, host and port",
        found=f"HTTP {error.code} to {place}",
        next_step="if you trust that server, name it in the `registry` key of the job file",
    )


def _within(seconds: float, action: Callable[[], T]) -> T:
    """The result of an action that may hang.

    A socket's time-out bounds each wait, not their number.
    """
    outcome = start_daemon("ask-registry", action)
    if not wait([outcome], seconds).done:
        raise TimeoutError(f"still unfinished after {seconds:g} s")
    return outcome.result()
