"""A job with a champion and what MLflow would send of its model, and the pages that receive it."""

import base64
import hashlib
import hmac
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import uvicorn
import yaml

from nightscore.flows.stack.settings import free_ports
from nightscore.models.cache import ModelCache
from nightscore.operations.serve_reports import report_pages
from nightscore.operations.webhooks.notices import Notice
from nightscore.operations.webhooks.route import PATH, WebhookRoute
from tests.fakes.pool import InProcessPool
from tests.fakes.registry import URI, StubRegistry, stub_registry
from tests.support.lake import Lake

SECRET = "a secret of more than sixteen characters"
NOW = 1_800_000_000
DELIVERY = "0b1ad7bd-8b0d-4f2f-9a4e-4a3a64d0f6d5"


@dataclass
class Receiver:
    """The pages, with webhooks, and what they passed on."""

    port: int
    notices: list[Notice] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    """Raised, one after the other, instead of passing something on."""
    arrived: threading.Event = field(default_factory=threading.Event)

    def react(self, notices: Sequence[Notice]) -> None:
        if self.failures:
            raise self.failures.pop()
        self.notices += notices
        self.arrived.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"

    def send(self, body: bytes | Any, headers: dict[str, str]) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", PATH, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


def request_of(body: bytes, *lines: str, method: str = "POST", length: str = "") -> bytes:
    """A signed request as it goes over the wire, with more lines in its head."""
    named = [f"{name}: {value}" for name, value in signed(body).items()]
    sized = [f"Content-Length: {length or len(body)}"] if length != "none" else []
    head = [f"{method} {PATH} HTTP/1.1", "Host: here", *sized, *named, *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def raw_answer(receiver: Receiver, request: bytes) -> str:
    """What is answered to bytes, until the server closes or has answered."""
    with socket.create_connection(("127.0.0.1", receiver.port), 30) as sender:
        sender.sendall(request)
        with sender.makefile("rb") as answer:
            return b"".join(_head(answer)).decode("latin-1")


def _head(answer: BinaryIO) -> Iterator[bytes]:
    for line in answer:
        yield line
        if line == b"\r\n":
            return


@contextmanager
def receiving(folder: Path, lake: Lake, secret: str = SECRET, **options: Any) -> Iterator[Receiver]:
    """`nightscore pages`, in a thread of this process."""
    (port,) = free_ports(1)
    receiver = Receiver(port)
    webhooks = WebhookRoute(secret, [folder], receiver.react, **options)
    application = report_pages([folder], lake.cache, webhooks)
    server = uvicorn.Server(uvicorn.Config(application, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        yield receiver
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def registry_of_delay(tmp_path: Path) -> Iterator[StubRegistry]:
    """A registry with two versions of `delay`, of which the second lacks everything."""
    model = tmp_path / "model"
    model.mkdir()
    with stub_registry() as registry:
        registry.add("delay", model)
        registry.add("delay", model, is_pinned=False)
        registry.set_alias("delay", "champion", "2")
        yield registry


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake: nothing is scored here."""
    cache = ModelCache(tmp_path / "cache")
    return Lake(str(tmp_path / "lake"), {}, URI, InProcessPool(), cache, "parquet")


@pytest.fixture
def folder(lake: Lake, tmp_path: Path) -> Path:
    """Two jobs that have `delay@champion` and one that has a version of it, and another's file."""
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    for name, model in {
        "late": "models:/delay@champion",
        "later": "models:/delay@champion",
        "pinned": "models:/delay/1",
        "other": "models:/price@champion",
    }.items():
        job = lake.job(model, name=name)
        (jobs / f"{name}.yaml").write_text(yaml.safe_dump(job.model_dump(mode="json")))
    (jobs / "broken.yaml").write_text("name: [")
    return jobs


@pytest.fixture
def receiver(lake: Lake, folder: Path) -> Iterator[Receiver]:
    with receiving(folder, lake, clock=lambda: NOW) as receiver:
        yield receiver


def alias_moved(**data: Any) -> bytes:
    """What MLflow sends when an alias has moved."""
    document = {
        "entity": "model_version_alias",
        "action": "created",
        "timestamp": "2027-01-15T08:00:00+00:00",
        "data": {"name": "delay", "alias": "champion", "version": "2"} | data,
    }
    return json.dumps(document).encode()


def signed(
    body: bytes, secret: str = SECRET, timestamp: int = NOW, delivery: str = DELIVERY
) -> dict[str, str]:
    """Headers as MLflow makes them."""
    content = f"{delivery}.{timestamp}.".encode() + body
    digest = hmac.new(secret.encode(), content, hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": str(timestamp),
        "X-MLflow-Signature": "v1," + base64.b64encode(digest).decode(),
    }
