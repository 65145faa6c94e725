"""HTTP requests to the servers of a stack."""

import json
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any

PROBE_TIMEOUT_S = 5
REQUEST_TIMEOUT_S = 30
BUSY_ATTEMPTS = 20
BUSY_PAUSE_S = 0.5


def request(api_url: str, method: str, path: str, body: Any = None) -> Any:
    """The answer of a Prefect server's API; None if it is empty.

    While SQLite is busy, the server refuses or does not answer in time. As in Prefect's own
    clients, the call then waits and tries again.

    Raises:
        OSError: The server does not answer, or refuses (HTTPError).
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}

    for is_last in (*[False] * BUSY_ATTEMPTS, True):
        call = urllib.request.Request(f"{api_url}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(call, timeout=REQUEST_TIMEOUT_S) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as refused:
            if refused.code != HTTPStatus.SERVICE_UNAVAILABLE or is_last:
                raise

            refused.close()
            time.sleep(BUSY_PAUSE_S)
        except TimeoutError:
            # A call that changes something may have been carried out all the same.
            if method != "GET" or is_last:
                raise

    raise AssertionError


def answers(url: str) -> bool:
    """Whether an HTTP server answers at the URL without a server error."""
    try:
        with urllib.request.urlopen(url, timeout=PROBE_TIMEOUT_S):
            return True
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code < HTTPStatus.INTERNAL_SERVER_ERROR
    except OSError:
        return False
