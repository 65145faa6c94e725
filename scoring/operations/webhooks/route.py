"""The route that MLflow's webhooks arrive at. Nobody but the owner of the secret gets an answer."""

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from nightscore.operations.webhooks.deliveries import Deliveries
from nightscore.operations.webhooks.notices import Notice, find_notices
from nightscore.operations.webhooks.registry_event import RegistryEvent, read_event
from nightscore.operations.webhooks.signature import SignedHeaders
from nightscore.schemas.text import counted

logger = logging.getLogger("nightscore")

PATH = "/-/webhooks/mlflow"
MAX_BYTES = 64 * 1024
"""Of a body. MLflow's are below 10 KB."""
MAX_SECONDS = 10.0
"""In which a body must have arrived."""
MAX_SENDERS = 16
"""Bodies that arrive at once, so at most 1 MB of memory."""
OFF = "Webhooks are off. Set NIGHTSCORE_WEBHOOK_SECRET where `nightscore pages` starts."
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""All, so that the pages do not take the route for the name of a job. Only POST is accepted."""
React = Callable[[Sequence[Notice]], None]
"""Tells of what has happened. If it fails, MLflow is asked to deliver again."""


class WebhookRoute:
    """Receives webhooks. Bodies are awaited beside the pages, and jobs are read in own threads."""

    def __init__(
        self,
        secret: str,
        folders: Sequence[Path],
        react: React,
        clock: Callable[[], float] = time.time,
        max_seconds: float = MAX_SECONDS,
    ) -> None:
        """Take a secret that is shared with MLflow; an empty one: the route is off.

        `react` is called in a thread. `clock` gives Unix time in seconds.
        """
        self._secret, self._folders, self._react = secret, folders, react
        self._clock, self._max_seconds = clock, max_seconds
        self._deliveries = Deliveries()
        self._n_senders = 0
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="webhooks")

    @property
    def route(self) -> Route:
        """The route, for the application."""
        return Route(PATH, self.receive, methods=METHODS)

    async def receive(self, request: Request) -> PlainTextResponse:
        """The answer to a delivery. It repeats nothing of it."""
        try:
            return PlainTextResponse(await self._receive(request))
        except HTTPException as refused:
            # What is left of the body is not read.
            headers = {"Connection": "close", **(refused.headers or {})}
            return PlainTextResponse(refused.detail, refused.status_code, headers)

    async def _receive(self, request: Request) -> str:
        if not self._secret:
            raise HTTPException(404, OFF)
        if request.method != "POST":
            raise HTTPException(405, "Only MLflow's webhooks arrive here.", {"Allow": "POST"})

        headers = SignedHeaders.read(request.headers, self._clock())
        body = await self._read_body(request)
        headers.check(body, self._secret)

        with self._deliveries.received(headers.delivery, self._clock()) as is_new:
            if not is_new:
                return "This delivery was received before.\n"
            return await self._act(body, headers.delivery)

    async def _read_body(self, request: Request) -> bytes:
        """The body, if it is small and arrives soon.

        Raises:
            HTTPException: It is not, or too many are arriving.
        """
        length = request.headers.get("content-length", "0")

        if not length.isdecimal() or int(length) > MAX_BYTES:
            raise HTTPException(
                413, f"The body is too large; expected at most {MAX_BYTES:,} bytes."
            )

        if self._n_senders >= MAX_SENDERS:
            raise HTTPException(503, "Too many deliveries arrive at once. Send it again later.")

        self._n_senders += 1
        try:
            async with asyncio.timeout(self._max_seconds):
                return await _read_bounded(request)
        except TimeoutError:
            raise HTTPException(
                408, f"The body did not arrive within {self._max_seconds:g} s."
            ) from None
        except ClientDisconnect:
            raise HTTPException(400, "The sender has left.") from None
        finally:
            self._n_senders -= 1

    async def _act(self, body: bytes, delivery: str) -> str:
        try:
            event = read_event(body, delivery)
        except ValueError:
            raise HTTPException(400, "The body is not what MLflow's registry sends.") from None

        if event is None or event.is_sample:
            return "Received. It concerns no job.\n"

        work = functools.partial(self._tell, event)

        try:
            n_jobs = await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except Exception as error:  # noqa: BLE001 (whatever it is: the next delivery may succeed)
            logger.warning("a webhook could not be passed on: %s", type(error).__name__)
            raise HTTPException(503, "It could not be passed on. Send it again later.") from None

        return f"Received. It concerns {counted(n_jobs, 'job')}.\n"

    def _tell(self, event: RegistryEvent) -> int:
        notices = find_notices(event, self._folders)
        if notices:
            self._react(notices)
        return len(notices)


async def _read_bounded(request: Request) -> bytes:
    """The body. No more is read than may be kept.

    Raises:
        HTTPException: It is longer.
    """
    body = bytearray()

    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise HTTPException(
                413, f"The body is too large; expected at most {MAX_BYTES:,} bytes."
            )

    return bytes(body)
