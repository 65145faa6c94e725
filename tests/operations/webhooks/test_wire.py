"""Requests to the route of webhooks that no client library would send: all are answered, and soon."""

import hmac
import logging
from pathlib import Path

import pytest

from nightscore.operations.webhooks.route import MAX_BYTES, PATH
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
BODY = alias_moved()
SIGNATURE = signed(BODY)["X-MLflow-Signature"]


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A signed request whose body comes in chunks."""
    head = request_of(BODY, "Transfer-Encoding: chunked", length="none")[: -len(BODY)]
    return head + b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in chunks) + end


def unsigned(*lines: str) -> bytes:
    head = [f"POST {PATH} HTTP/1.1", "Host: here", f"Content-Length: {len(BODY)}", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + BODY


DATED = [f"{name}: {value}" for name, value in signed(BODY).items() if "Signature" not in name]
"""What is signed, without the signature."""


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (request_of(BODY), 200),
        (chunked(BODY[:10], BODY[10:]), 200),
        (chunked(*[BODY[at : at + 1] for at in range(len(BODY))]), 200),
        (chunked(*[b" " * 4_096] * 17), 413),
        (chunked(BODY, end=b"zz\r\n"), 400),
        (request_of(BODY, f"Content-Length: {len(BODY)}"), 200),
        (request_of(BODY, "Content-Length: 3"), 400),
        (request_of(BODY, length="none"), 401),
        (request_of(BODY, length="-1"), 400),
        (request_of(BODY, length="1e3"), 400),
        (request_of(BODY, length="9" * 5_000), 400),
        (request_of(BODY, length=str(MAX_BYTES + 1)), 413),
        (request_of(b" " * MAX_BYTES), 400),
        (request_of(BODY, method="GET"), 405),
        (request_of(BODY, method="HEAD"), 405),
        (request_of(BODY, method="PUT"), 405),
        (unsigned(*DATED), 401),
        (unsigned(*DATED, "X-MLflow-Signature: v1,\xe4\xf6\xfc"), 401),
        (unsigned(*DATED, f"X-MLflow-Signature: v1,AAAA {SIGNATURE}"), 401),
        (unsigned(*DATED, "X-MLflow-Signature: v1,AAAA", f"X-MLflow-Signature: {SIGNATURE}"), 401),
        (unsigned(*DATED, f"X-MLflow-Signature: {SECRET}"), 401),
        (unsigned(*DATED, f"X-MLflow-Signature: {'A' * 60_000}"), 401),
        (b"POST " + PATH.encode() + b" HTTP/1.1\r\n\x00: \xff\r\n\r\n", 400),
    ],
)
def test_each_request_has_its_answer(
    receiver: Receiver,
    request_bytes: bytes,
    status: int,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = raw_answer(receiver, request_bytes)

    assert answer.startswith(f"HTTP/1.1 {status} "), answer
    assert bool(receiver.notices) == (status == 200)
    logged = caplog.text + "".join(capfd.readouterr())
    assert SECRET not in logged + answer
    assert SIGNATURE not in logged + answer


def test_bodies_that_stop_midway_are_given_up(lake: Lake, folder: Path) -> None:
    with receiving(folder, lake, clock=lambda: NOW, max_seconds=0.1) as receiver:
        for request in (
            request_of(BODY, length=str(len(BODY) + 1)),
            chunked(BODY, end=b""),
        ):
            assert raw_answer(receiver, request).startswith("HTTP/1.1 408 ")
        assert not receiver.notices
        assert receiver.send(BODY, signed(BODY))[0] == 200


@pytest.mark.parametrize(
    ("seconds", "status"),
    [(-301, 401), (-300, 200), (-299, 200), (299, 200), (300, 200), (301, 401)],
)
def test_clocks_may_differ_by_five_minutes(receiver: Receiver, seconds: int, status: int) -> None:
    assert receiver.send(BODY, signed(BODY, timestamp=NOW + seconds))[0] == status


def test_signatures_are_compared_in_constant_time(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    real = hmac.compare_digest

    def counted(expected: bytes, found: bytes) -> bool:
        compared.append((expected, found))
        return real(expected, found)

    monkeypatch.setattr("nightscore.operations.webhooks.signature.hmac.compare_digest", counted)
    assert receiver.send(BODY, signed(BODY))[0] == 200
    assert compared == [(SIGNATURE.encode(), SIGNATURE.encode())]


def test_one_that_comes_again_after_a_restart_is_told_again(lake: Lake, folder: Path) -> None:
    """The ids were in memory. Its events have the same ids, so that Prefect takes them for one."""
    told = []
    for _ in range(2):
        with receiving(folder, lake, clock=lambda: NOW) as receiver:
            assert receiver.send(BODY, signed(BODY))[0] == 200
        told.append([(notice.source, notice.event.delivery) for notice in receiver.notices])

    assert told[0] == told[1]
    assert len(told[0]) == 2
