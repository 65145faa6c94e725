"""Stands between a client and an S3 server, and does what networks and stores do: on demand, from a seed."""

import contextlib
import http.client
import random
import re
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Kind = Literal["status", "reset before", "reset after", "stall", "truncate", "flip", "no etag"]
"""`reset after`: the request is carried out, its answer is lost. `stall`: no answer, and no end
either."""

ERRORS = {
    400: "ExpiredToken",
    403: "AccessDenied",
    409: "ConditionalRequestConflict",
    429: "SlowDown",
    500: "InternalError",
    503: "ServiceUnavailable",
}


@dataclass
class Rule:
    """One kind of fault, for requests that match."""

    kind: Kind
    method: str = "."
    path: str = "."
    """Regular expressions, searched for; the path holds the query."""
    probability: float = 1.0
    first: int = 0
    """Matching requests that pass before."""
    times: int = 1_000_000
    """Faults at most."""
    status: int = 503
    code: str = ""
    """Of the error; empty: the status's own."""
    n_matched: int = 0
    n_done: int = 0

    def fires(self, method: str, path: str, rng: random.Random) -> bool:
        if not re.search(self.method, method) or not re.search(self.path, path):
            return False
        self.n_matched += 1
        if (
            self.n_matched <= self.first
            or self.n_done >= self.times
            or rng.random() >= self.probability
        ):
            return False
        self.n_done += 1
        return True


@dataclass
class Proxy:
    """A running proxy."""

    upstream: str
    seed: int = 0
    rules: list[Rule] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    endpoint: str = ""
    is_down: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _rng: random.Random = field(default_factory=random.Random)
    released: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def doing(self, *rules: Rule) -> Iterator[Sequence[Rule]]:
        """Inject these faults, and no others, for a while."""
        with self._lock:
            self._rng = random.Random(self.seed)
            self.rules, self.released = list(rules), threading.Event()
        try:
            yield rules
        finally:
            self.rules = []
            self.released.set()

    def pick(self, method: str, path: str) -> Rule | None:
        with self._lock:
            self.requests.append((method, path))
            return next((rule for rule in self.rules if rule.fires(method, path, self._rng)), None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            super().handle_one_request()
            return
        self.close_connection = True

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        rule = (
            Rule("reset before") if self.proxy.is_down else self.proxy.pick(self.command, self.path)
        )
        kind = rule.kind if rule else None
        if kind == "reset before":
            self._reset()
            return
        if kind == "stall":
            self.proxy.released.wait(600)
            self._reset()
            return
        if rule and kind == "status":
            text = f"<Error><Code>{rule.code or ERRORS[rule.status]}</Code><Message>injected</Message></Error>".encode()
            self._answer(rule.status, [("Content-Type", "application/xml")], text)
            return
        status, headers, answer = self._forward(body)
        if kind == "reset after":
            self._reset()
        elif kind == "truncate" and len(answer) > 1:
            self._answer(status, headers, answer, cut=len(answer) // 2)
        elif kind == "flip" and len(answer) > 64:
            changed = bytearray(answer)
            changed[len(answer) // 3] ^= 1 << 3
            self._answer(status, headers, bytes(changed))
        elif kind == "no etag":
            others = [(name, value) for name, value in headers if name.lower() != "etag"]
            self._answer(status, others, re.sub(rb"<ETag>.*?</ETag>", b"", answer))
        else:
            self._answer(status, headers, answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection(urlsplit(self.proxy.upstream).netloc, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "expect":  # answered by this server already
                    upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            upstream.close()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, cut: int | None = None
    ) -> None:
        self.send_response_only(status)
        length = (
            dict(headers).get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        )
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.wfile.flush()
            self._reset()

    def _reset(self) -> None:
        """Close with a reset, as a crashed peer does."""
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def faulty(upstream: str, seed: int = 0) -> Iterator[Proxy]:
    """A proxy in front of an S3 server."""
    proxy = Proxy(upstream, seed)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy}))
    proxy.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield proxy
    finally:
        proxy.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
