"""What the route of webhooks accepts, what it refuses, and that nobody blocks the pages."""

import json
import socket
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from starlette.exceptions import HTTPException

from nightscore.errors import DeploymentError, StorageUnavailableError
from nightscore.models.registry_catalog import registered
from nightscore.operations.webhooks.deliveries import KEPT_S, Deliveries
from nightscore.operations.webhooks.notices import Notice
from nightscore.operations.webhooks.route import MAX_BYTES, MAX_SENDERS, PATH
from tests.fakes.registry import SCHEME, StubRegistry
from tests.operations.webhooks.conftest import (
    NOW,
    SECRET,
    Receiver,
    alias_moved,
    raw_answer,
    receiving,
    request_of,
    signed,
)
from tests.support.lake import Lake

pytestmark = pytest.mark.usefixtures("registry_of_delay")


def test_an_alias_that_moves_is_told_to_each_job_that_has_it(receiver: Receiver) -> None:
    body = alias_moved()
    status, text = receiver.send(body, signed(body))

    assert (status, text) == (200, "Received. It concerns 2 jobs.\n")
    assert [(notice.source, notice.role) for notice in receiver.notices] == [
        ("late", "champion"),
        ("later", "champion"),
    ]
    assert receiver.notices[0].lines == [
        "late: delay@champion means version 2 now.",
        "It has no pin; `nightscore pin models:/delay/2 --registry stub://registry` adds it.",
        "It has no baseline; `nightscore baseline late --from DATA --label COLUMN "
        "--model-version 2` adds it.",
    ]


def test_a_new_version_is_told_to_each_job_that_names_its_model(receiver: Receiver) -> None:
    document = json.loads(alias_moved()) | {"entity": "model_version"}
    body = json.dumps(document).encode()

    assert receiver.send(body, signed(body)) == (200, "Received. It concerns 3 jobs.\n")
    assert [notice.source for notice in receiver.notices] == ["late", "later", "pinned"]
    assert {notice.role for notice in receiver.notices} == {"none"}
    assert receiver.notices[0].lines[0] == "late: delay has a new version 2."


def test_a_challenger_that_moves_is_told_to_the_job_that_tries_it(
    receiver: Receiver, lake: Lake, folder: Path
) -> None:
    release = {"challenger": "models:/delay@challenger"}
    job = lake.job("models:/delay@champion", name="late", release=release)
    (folder / "late.yaml").write_text(yaml.safe_dump(job.model_dump(mode="json")))
    body = alias_moved(alias="challenger")

    assert receiver.send(body, signed(body)) == (200, "Received. It concerns 1 job.\n")
    (notice,) = receiver.notices
    assert (notice.role, notice.subject) == (
        "challenger",
        "late: its challenger delay@challenger means version 2 now",
    )


def test_a_delivery_takes_effect_once(receiver: Receiver) -> None:
    body = alias_moved()
    assert receiver.send(body, signed(body))[0] == 200
    n_notices = len(receiver.notices)

    again = receiver.send(body, signed(body))
    assert again == (200, "This delivery was received before.\n"), "MLflow need not try again"
    assert len(receiver.notices) == n_notices


def test_one_that_could_not_be_passed_on_may_come_again(receiver: Receiver) -> None:
    receiver.failures.append(DeploymentError("the server with key abc is gone", "here"))
    body = alias_moved()

    status, text = receiver.send(body, signed(body))
    assert (status, text) == (503, "It could not be passed on. Send it again later.")
    assert not receiver.notices

    assert receiver.send(body, signed(body))[0] == 200
    assert len(receiver.notices) == 2


def test_one_that_comes_again_while_it_is_under_way_is_to_come_later(
    lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow sends it again: whether the first has an effect is not known yet."""
    is_telling, may_end = threading.Event(), threading.Event()
    react = Receiver.react

    def slow(receiver: Receiver, notices: Sequence[Notice]) -> None:
        is_telling.set()
        assert may_end.wait(60)
        react(receiver, notices)

    monkeypatch.setattr(Receiver, "react", slow)
    body = alias_moved()
    with receiving(folder, lake, clock=lambda: NOW) as receiver, ThreadPoolExecutor(1) as thread:
        receiver.failures.append(DeploymentError("the server is gone", "here"))
        first = thread.submit(receiver.send, body, signed(body))
        assert is_telling.wait(60)
        answer = raw_answer(receiver, request_of(body))
        assert answer.startswith("HTTP/1.1 503")
        assert "retry-after: 5\r\n" in answer.lower()
        may_end.set()
        assert first.result()[0] == 503

        assert receiver.send(body, signed(body))[0] == 200, "the first had no effect"
        assert len(receiver.notices) == 2
        assert receiver.send(body, signed(body))[1] == "This delivery was received before.\n"


BODY = alias_moved()


@pytest.mark.parametrize(
    ("changes", "body", "status", "words"),
    [
        ({"X-MLflow-Signature": ""}, BODY, 401, "not signed"),
        ({"X-MLflow-Signature": "v1,AAAA"}, BODY, 401, "signature is wrong"),
        ({"X-MLflow-Signature": "v2" + signed(BODY)["X-MLflow-Signature"][2:]}, BODY, 401, "wrong"),
        (signed(BODY, "another secret, as long as it"), BODY, 401, "signature is wrong"),
        ({}, alias_moved(version="3"), 401, "signature is wrong"),
        ({"X-MLflow-Delivery-Id": "another"}, BODY, 401, "signature is wrong"),
        ({"X-MLflow-Delivery-Id": "x" * 101}, BODY, 400, "no valid id"),
        ({"X-MLflow-Timestamp": str(NOW + 1)}, BODY, 401, "signature is wrong"),
        ({"X-MLflow-Timestamp": "1e9"}, BODY, 400, "no valid id or timestamp"),
        (signed(BODY, timestamp=NOW - 301), BODY, 401, "301 s away"),
        (signed(BODY, timestamp=NOW + 301), BODY, 401, "301 s away"),
        ({}, b"x" * (MAX_BYTES + 1), 413, "too large; expected at most 65,536 bytes"),
    ],
)
def test_whoever_does_not_prove_it_is_refused(
    receiver: Receiver, changes: dict[str, str], body: bytes, status: int, words: str
) -> None:
    found, text = receiver.send(body, signed(BODY) | changes)

    assert found == status
    assert words in text
    assert SECRET not in text
    assert "delay" not in text, "nothing of what was sent"
    assert not receiver.notices


@pytest.mark.parametrize("timestamp", [NOW - 300, NOW + 300])
def test_clocks_may_differ_by_five_minutes(receiver: Receiver, timestamp: int) -> None:
    assert receiver.send(BODY, signed(BODY, timestamp=timestamp))[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 60_000,
        json.dumps({"entity": "model_version_alias", "action": "created"}).encode(),
        alias_moved(alias=None),
        alias_moved(version=""),
        alias_moved(name="x" * 501),
    ],
)
def test_a_signed_body_that_says_nothing_is_refused(receiver: Receiver, body: bytes) -> None:
    status, text = receiver.send(body, signed(body))
    assert (status, text) == (400, "The body is not what MLflow's registry sends.")


@pytest.mark.parametrize(
    "body",
    [
        alias_moved(name="nobodys"),
        alias_moved(name="example_model"),
        json.dumps({"entity": "prompt", "action": "created", "data": {}}).encode(),
        json.dumps({"entity": ["model_version"], "action": {}}).encode(),
    ],
)
def test_what_concerns_no_job_is_received(receiver: Receiver, body: bytes) -> None:
    status, text = receiver.send(body, signed(body))
    assert status == 200
    assert "no job" in text or "0 jobs" in text
    assert not receiver.notices


def test_a_body_without_a_length_is_read_no_further_than_may_be(receiver: Receiver) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            yield b" " * (MAX_BYTES // 2)

    status, text = receiver.send(chunks(), signed(BODY))
    assert status == 413, text


def test_it_is_off_without_a_secret(lake: Lake, folder: Path) -> None:
    with receiving(folder, lake, secret="", clock=lambda: NOW) as receiver:
        status, text = receiver.send(BODY, signed(BODY, secret=""))
    assert status == 404
    assert "NIGHTSCORE_WEBHOOK_SECRET" in text
    assert not receiver.notices


def test_slow_senders_do_not_block_the_pages(lake: Lake, folder: Path) -> None:
    lines = [f"{name}: {value}" for name, value in signed(BODY).items()]
    head = [f"POST {PATH} HTTP/1.1", "Host: here", f"Content-Length: {len(BODY)}", *lines, "", "{"]

    with receiving(folder, lake, clock=lambda: NOW, max_seconds=0.5) as receiver:
        senders = [
            socket.create_connection(("127.0.0.1", receiver.port), 30) for _ in range(MAX_SENDERS)
        ]
        for sender in senders:
            sender.sendall("\r\n".join(head).encode())
        with urllib.request.urlopen(f"http://127.0.0.1:{receiver.port}/", timeout=30) as page:
            assert page.status == 200

        answers = []
        for sender in senders:
            with sender:
                answers.append(sender.recv(4_096).decode())
        assert all(answer.startswith("HTTP/1.1 408") for answer in answers)
        assert receiver.send(BODY, signed(BODY))[0] == 200, "the places are free again"


def test_ids_are_bounded_and_none_is_forgotten_early() -> None:
    deliveries = Deliveries(max_kept=2)

    def is_new(delivery: str, now_s: float) -> bool:
        with deliveries.received(delivery, now_s) as is_new:
            return is_new

    assert is_new("a", 0.0)
    assert is_new("b", 1.0)
    assert not is_new("a", KEPT_S)
    with pytest.raises(HTTPException, match="too many"):
        is_new("c", KEPT_S)
    assert is_new("c", KEPT_S + 0.5), "a is too old to be accepted anyway"
    assert not is_new("b", KEPT_S + 0.5)


def test_a_registry_that_does_not_answer_costs_only_what_is_missing(receiver: Receiver) -> None:
    def does_not_answer(uri: str) -> StubRegistry:
        raise StorageUnavailableError("The registry does not answer.", uri)

    with registered(SCHEME, does_not_answer):
        assert receiver.send(BODY, signed(BODY))[0] == 200
    assert receiver.notices[0].lines[1:] == [
        "Nobody knows whether it has a pin and a baseline: The registry does not answer."
    ]
