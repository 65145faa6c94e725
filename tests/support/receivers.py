"""What a webhook, Slack and a mail server would be sent, received on this machine."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

from aiosmtpd.controller import Controller
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nightscore.flows.prefect_server import free_port

SLACK = "hooks.slack.com"
PATIENCE_S = 60


@dataclass(frozen=True)
class Post:
    """One request."""

    host: str
    path: str
    content_type: str
    body: Any


class HttpReceiver:
    """Takes what is posted to it; as a proxy for HTTPS it also is hooks.slack.com, under a certificate of its own."""

    def __init__(self, folder: Path) -> None:
        self.posts: Queue[Post] = Queue()
        self.certificate = folder / "slack.pem"
        _certify(SLACK, self.certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        posts = self.posts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                kind = self.headers["Content-Type"]
                posts.put(Post(self.headers["Host"], self.path, kind, json.loads(content)))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def do_CONNECT(self) -> None:
                assert self.path == f"{SLACK}:443"
                self.send_response(200)
                self.end_headers()
                self.connection = context.wrap_socket(self.connection, server_side=True)
                self.rfile = self.connection.makefile("rb")
                self.wfile = self.connection.makefile("wb", 0)  # type: ignore[assignment]
                self.close_connection = False

            def finish(self) -> None:
                super().finish()
                self.connection.close()

            def log_message(self, *args: Any) -> None:
                """Not into the tests' output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """Leads a process's requests to Slack here."""
        return {
            "HTTPS_PROXY": self.url,
            "NO_PROXY": "127.0.0.1",
            "REQUESTS_CA_BUNDLE": str(self.certificate),
        }

    @contextmanager
    def listening(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


class MailReceiver:
    """A mail server that keeps what it gets."""

    def __init__(self) -> None:
        self.mails: Queue[EmailMessage] = Queue()
        self._port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self._port)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.mails.put(message_from_bytes(envelope.content, policy=default))  # type: ignore[arg-type]
        return "250 OK"

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self._port}?from=nightscore@example.com&to=oncall@example.com&mode=insecure"

    @contextmanager
    def listening(self) -> Iterator[None]:
        self._controller.start()
        try:
            yield
        finally:
            self._controller.stop()


def _certify(host: str, path: Path) -> None:
    """A certificate that is its own authority, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    public = key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = serialization.Encoding.PEM
    private = key.private_bytes(
        text, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(text))
