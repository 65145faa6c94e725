"""Faults of the store and of the network, injected by a proxy in front of a real S3 server."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nightscore.schemas.manifest import Manifest
from tests.faults.conftest import DAY, Lab
from tests.faults.invariants import check_error
from tests.support.proxy import Rule

COMMIT = r"_delta_log/\d{20}\.json|predictions\.parquet$"
ANSWERS_LOST = {"answers lost", "all answers to the commit lost"}
"""What has failed then may have been published all the same."""
Tell = Callable[[str, str, Manifest | str], None]

FAULTS: dict[str, tuple[str, list[Rule], set[str]]] = {
    "busy": ("503 to a tenth of the requests", [Rule("status", probability=0.1)], {"published"}),
    "throttled": (
        "429 to a fifth of the requests",
        [Rule("status", status=429, probability=0.2)],
        {"published"},
    ),
    "internal errors": (
        "500 to three requests running",
        [Rule("status", status=500, first=5, times=3)],
        {"published"},
    ),
    "down": ("503 to all requests", [Rule("status")], {"StorageUnavailableError"}),
    "down from the commit on": (
        "503 from the first request to the commit's object",
        [Rule("status", method="PUT", path=COMMIT)],
        {"StorageUnavailableError"},
    ),
    "connections reset": (
        "a tenth before the request",
        [Rule("reset before", probability=0.1)],
        {"published"},
    ),
    "answers lost": (
        "a tenth after the request was carried out",
        [Rule("reset after", probability=0.1)],
        {"published", "StorageUnavailableError"},
    ),
    "answer to the commit lost": (
        "once, after it was carried out",
        [Rule("reset after", method="PUT", path=COMMIT, times=1)],
        {"published"},
    ),
    "all answers to the commit lost": (
        "always, after it was carried out",
        [Rule("reset after", method="PUT", path=COMMIT)],
        {"published", "StorageUnavailableError"},
    ),
    "answers end early": (
        "a fifth of the GETs",
        [Rule("truncate", method="GET", probability=0.2)],
        {"published"},
    ),
    "stalls": (
        "no answer to three requests for input",
        [Rule("stall", method="GET", path=r"features.*\.parquet", times=3)],
        {"published"},
    ),
    "stalls at the commit": (
        "no answer",
        [Rule("stall", method="PUT", path=COMMIT)],
        {"StorageUnavailableError"},
    ),
    "credentials expire": (
        "403 after 30 requests",
        [Rule("status", status=403, first=30)],
        {"CredentialsError"},
    ),
    "credentials are wrong": ("403 to all", [Rule("status", status=403)], {"CredentialsError"}),
    "a token expires": (
        "400 ExpiredToken after 30 requests",
        [Rule("status", status=400, first=30)],
        {"CredentialsError"},
    ),
    "a token expires at the commit": (
        "400 ExpiredToken to the commit",
        [Rule("status", method="PUT", path=COMMIT, status=400)],
        {"CredentialsError"},
    ),
    "a clock is wrong": (
        "403 RequestTimeTooSkewed to all",
        [Rule("status", status=403, code="RequestTimeTooSkewed")],
        {"CredentialsError"},
    ),
    "a conflict that passes": (
        "one 409 to the commit",
        [Rule("status", method="PUT", path=COMMIT, status=409, times=1)],
        {"published"},
    ),
    "another conflict that passes": (
        "one 409 OperationAborted to the commit",
        [Rule("status", method="PUT", path=COMMIT, status=409, code="OperationAborted", times=1)],
        {"published"},
    ),
    "a conflict without end": (
        "409 to the commit, always",
        [Rule("status", method="PUT", path=COMMIT, status=409)],
        {"StorageUnavailableError"},
    ),
    "a condition that fails for no reason": (
        "412 to the commit, always",
        [Rule("status", method="PUT", path=COMMIT, status=412, code="PreconditionFailed")],
        {"StorageUnavailableError"},
    ),
    "no ETags": ("to no request", [Rule("no etag")], {"published", "StorageError"}),
    "a bit flips in input": (
        "in the first answer from a data page's place",
        [Rule("flip", method="GET", path=r"features.*\.parquet", first=3, times=1)],
        {"published", "CorruptFileError"},
    ),
}


BOTH_FORMATS = {
    "down from the commit on",
    "answer to the commit lost",
    "all answers to the commit lost",
    "a conflict without end",
}
"""Faults of the commit, which each format makes in its own way; of other faults a sample has one format."""


def cases() -> list[Any]:
    """Each fault with each format."""
    found = []
    for i, fault in enumerate(FAULTS):
        for formats in ("parquet", "delta"):
            is_sampled = fault in BOTH_FORMATS or formats == ("parquet", "delta")[i % 2]
            marks = [] if is_sampled else [pytest.mark.thorough]
            found.append(pytest.param(formats, fault, id=f"{formats}-{fault}", marks=marks))
    return found


@pytest.mark.s3
@pytest.mark.slow
@pytest.mark.parametrize(("s3_lab", "fault"), cases(), indirect=["s3_lab"])
def test_the_promise_holds(fault: str, s3_lab: Lab, report: Tell) -> None:
    injected, rules, promised = FAULTS[fault]
    s3_lab.begin()
    assert s3_lab.proxy

    with s3_lab.proxy.doing(*(replace(rule) for rule in rules)) as doing:
        manifest = s3_lab.score()
        done = sum(rule.n_done for rule in doing)

    report(f"{fault} ({s3_lab.behind.formats})", f"{injected}: {done} times", manifest)
    assert done, "nothing was injected"
    seen = s3_lab.check()
    state = manifest.error.type if manifest.error else manifest.status
    assert state in promised
    if manifest.error is None:
        assert seen == {DAY: 1}
    else:
        check_error(manifest)
        assert seen[DAY] in ({0, 1} if fault in ANSWERS_LOST else {0})
    s3_lab.settle()
