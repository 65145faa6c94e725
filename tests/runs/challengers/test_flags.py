"""What a feature flag says of a canary's share: by OpenFeature's own providers."""

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

from nightscore.errors import ChallengerError
from nightscore.runs.challengers.flags import ask_flag
from nightscore.schemas.flag import FlagRecord, ReleaseFlag

ABOUT = {"job": "late", "partition": "2024-02-29"}
HERE = __name__
never = threading.Event()


def make_provider() -> InMemoryProvider:
    """A provider of these tests, as a package of a user's own would have one."""
    values: dict[str, Any] = {
        "five": 0.05,
        "off": 0,
        "all": 1,
        "kill": False,
        "go": True,
        "percent": 5,
        "less": -0.1,
        "nan": float("nan"),
        "text": "5%",
    }
    flags = {name: InMemoryFlag("chosen", {"chosen": value}) for name, value in values.items()}
    return InMemoryProvider(flags)


class FlagdLikeProvider(InMemoryProvider):
    """Makes a float of each integer, as flagd's provider does, and a bool is one to Python."""

    def resolve_float_details(self, *arguments: Any, **options: Any) -> Any:
        details = super().resolve_float_details(*arguments, **options)
        return replace(details, value=float(details.value))


def make_flagd_like_provider() -> InMemoryProvider:
    flags = {
        name: InMemoryFlag("chosen", {"chosen": value})
        for name, value in {"go": True, "kill": False, "all": 1, "five": 0.05}.items()
    }
    return FlagdLikeProvider(flags)


def make_hanging_provider() -> InMemoryProvider:
    never.wait(30)
    return make_provider()


def ask(name: str, function: str = "make_provider", **changes: Any) -> Any:
    flag = ReleaseFlag(name=name, provider=f"{HERE}:{function}")
    return ask_flag(flag, 0.2, ABOUT, **({"allow_code": [HERE]} | changes))


@pytest.mark.parametrize(
    ("name", "share"),
    [("five", 0.05), ("off", 0.0), ("all", 1.0), ("kill", 0.0), ("go", 0.2)],
)
def test_a_number_is_the_share_and_true_means_the_jobs_own(name: str, share: float) -> None:
    answer = ask(name)
    assert answer.share == share
    assert (answer.record.variant, answer.record.reason) == ("chosen", "STATIC")


@pytest.mark.parametrize(
    ("name", "share", "value"),
    [("go", 0.2, True), ("kill", 0.0, False), ("all", 1.0, 1.0), ("five", 0.05, 0.05)],
)
def test_true_is_not_all_keys_where_a_provider_makes_numbers_of_it(
    name: str, share: float, value: Any
) -> None:
    answer = ask(name, "make_flagd_like_provider")
    assert (answer.share, answer.record.value) == (share, value)
    assert isinstance(answer.record.value, type(value))


def test_what_is_recorded_is_what_the_provider_gave() -> None:
    assert ask("go").record == FlagRecord(name="go", value=True, variant="chosen", reason="STATIC")
    assert ask("five").record.value == 0.05


@pytest.mark.parametrize(("name", "found"), [("percent", "5"), ("less", "-0.1"), ("nan", "nan")])
def test_a_value_that_is_no_share_is_refused(name: str, found: str) -> None:
    with pytest.raises(ChallengerError, match="is no share") as refused:
        ask(name)
    assert refused.value.found == found


@pytest.mark.parametrize(
    ("name", "function", "found"),
    [
        ("text", "make_provider", "TYPE_MISMATCH"),
        ("unknown", "make_provider", "FLAG_NOT_FOUND"),
        ("five", "no_such_function", "AttributeError"),
        ("five", "make_hanging_provider", "no answer within 0.2 s"),
    ],
)
def test_a_flag_that_does_not_answer_says_why(name: str, function: str, found: str) -> None:
    with pytest.raises(ChallengerError, match="did not answer") as silent:
        ask(name, function, patience_s=0.2 if "hanging" in function else 10.0)
    assert found in silent.value.found


def test_code_of_a_job_runs_only_if_the_job_allows_it() -> None:
    with pytest.raises(ChallengerError, match="code that the job does not allow") as refused:
        ask("five", allow_code=["another"])
    assert f"allow_code: [{HERE}]" in refused.value.next_step


@pytest.mark.parametrize(
    "provider", ["flagd", "a b:c", "ftp://host", "module:", ":function", "a:b:c"]
)
def test_a_provider_is_a_service_or_a_function(provider: str) -> None:
    with pytest.raises(ValueError, match="such as http://flagd:8016"):
        ReleaseFlag(name="five", provider=provider)


class _Ofrep(http.server.BaseHTTPRequestHandler):
    """Answers as https://github.com/open-feature/protocol describes."""

    asked: list[Any]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body["context"]))
        status, answer = 404, {"errorCode": "FLAG_NOT_FOUND", "errorDetails": "none"}
        if self.path.endswith("/share"):
            status = 200
            answer = {"key": "share", "value": 0.1, "reason": "TARGETING_MATCH", "variant": "ten"}
        if self.path.endswith("/switch"):
            status, answer = (
                200,
                {"key": "switch", "value": 0, "reason": "STATIC", "variant": "off"},
            )

        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[tuple[str, list[Any]]]:
    asked: list[Any] = []
    handler = type("Handler", (_Ofrep,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_a_service_is_asked_over_http(service: tuple[str, list[Any]]) -> None:
    url, asked = service
    answer = ask_flag(ReleaseFlag(name="share", provider=url), None, ABOUT)

    assert answer.share == 0.1
    assert answer.record == FlagRecord(
        name="share", value=0.1, variant="ten", reason="TARGETING_MATCH"
    )
    assert asked == [("/ofrep/v1/evaluate/flags/share", {"targetingKey": "late", **ABOUT})]
    assert ask_flag(ReleaseFlag(name="switch", provider=url), 0.2, ABOUT).share == 0.0

    with pytest.raises(ChallengerError, match="did not answer") as silent:
        ask_flag(ReleaseFlag(name="nobodys", provider=url), 0.2, ABOUT)
    assert "FLAG_NOT_FOUND" in silent.value.found
