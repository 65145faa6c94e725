"""Whoever answers in a tracking server's place: elsewhere, endlessly, too much, or with something else."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nightscore.errors import StorageUnavailableError
from nightscore.models.model_versions import resolve
from nightscore.models.registries import rest
from nightscore.models.registries.server import ServerRegistry


class Server(http.server.ThreadingHTTPServer):
    """Answers every request alike, and notes the credentials that it was sent."""

    daemon_threads = True

    def __init__(self, status: int = 200, body: bytes = b"", location: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body, self.location = status, body, location
        self.authorizations: list[str | None] = []
        self.may_end = threading.Event()
        self.may_end.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.authorizations.append(self.headers.get("Authorization"))
        is_target = self.path == "/target"
        self.send_response(200 if is_target else self.server.status)
        if self.server.location and not is_target:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.server.may_end.wait()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.may_end.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "the-token")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_credentials_do_not_follow_a_redirect_to_another_server(status: int) -> None:
    with (
        serving(Server()) as other,
        serving(Server(status, location=f"{other.url}/steal")) as server,
    ):
        with pytest.raises(
            StorageUnavailableError, match=f"redirects to another server(.|\n)*{other.url}"
        ):
            resolve("models:/m/1", server.url)
        assert server.authorizations == ["Bearer the-token"]
        assert other.authorizations == []


def test_a_redirect_within_the_server_is_followed() -> None:
    with serving(Server(307, b'{"a": 1}', location="/target")) as server:
        assert rest.get_json(f"{server.url}/start", {"Authorization": "x"}, server.url) == {"a": 1}
        assert server.authorizations == ["x", "x"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[1, 2]", "JSON of another type: list"),
        (b"null", "JSON of another type: NoneType"),
        (b"[" * 200_000, "nested too deeply"),
        (b"<html>log in</html>", "text that is not JSON"),
        (b"\xff\xfe", "text that is not JSON"),
        (b"{}", "a field is missing"),
        (b'{"model_version": null}', "a field is missing or of another type"),
        (b'{"model_version": {"tags": [{"key": "a"}], "source": "x"}}', "a field is missing"),
        (b'{"model_version": {"source": 7}, "artifact_uri": 7}', "not a text"),
    ],
)
def test_json_of_another_shape_is_named(body: bytes, reason: str) -> None:
    refused = pytest.raises(StorageUnavailableError, match="unexpected response")
    with serving(Server(body=body)) as server, refused as raised:
        resolve("models:/m/1", server.url)
    assert reason in raised.value.found


def test_an_alias_that_points_to_no_number_is_named() -> None:
    refused = pytest.raises(StorageUnavailableError, match="unexpected response")
    with serving(Server(body=b'{"model_version": {"version": "../1"}}')) as server, refused:
        resolve("models:/m@champion", server.url)


def test_an_answer_is_bounded_in_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "MAX_ANSWER_BYTES", 1 << 20)
    refused = pytest.raises(StorageUnavailableError, match="more than 1 MiB")
    with serving(Server(body=b" " * (2 << 20))) as server, refused:
        resolve("models:/m/1", server.url)


def test_an_answer_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "ANSWER_TIMEOUT_S", 0.2)
    with serving(Server(body=b"{}")) as server:
        server.may_end.clear()
        with pytest.raises(StorageUnavailableError, match="did not answer in time"):
            resolve("models:/m/1", server.url)


def test_tags_and_parameters_are_those_of_the_model_the_run_and_the_logged_model() -> None:
    """Each answer has what the server documents for one of the questions."""
    logged = f"m-{'0' * 32}"
    answer = {
        "registered_model": {"name": "m", "tags": [{"key": "team", "value": "delays"}]},
        "model_version": {"version": "1", "run_id": "r", "source": f"models:/{logged}"},
        "run": {"data": {"params": [{"key": "depth", "value": "3"}]}},
        "model": {"data": {"params": [{"key": "rate", "value": "0.1"}]}},
    }
    with serving(Server(body=json.dumps(answer).encode())) as server:
        registry = ServerRegistry(server.url)
        assert registry.model_tag("m", "team") == "delays"
        assert registry.model_tag("m", "place") is None
        assert registry.parameters("m", "1") == {"depth": "3", "rate": "0.1"}

    with serving(Server(body=b'{"model_version": {"version": "1"}}')) as server:
        assert ServerRegistry(server.url).parameters("m", "1") is None
