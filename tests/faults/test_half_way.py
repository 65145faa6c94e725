"""Approvals, rejections, replays and rollbacks, killed before each change, or with another command between two."""

import functools
import itertools
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from nightscore.errors import ConflictError, LocationNotFoundError, PartitionNotFoundError
from nightscore.ledger.layout import predictions_store, sealed_history_path, state_store
from nightscore.ledger.manifest_files import find_manifest, write_manifest
from nightscore.ledger.workspace import Workspace
from nightscore.operations.approve import approve
from nightscore.operations.clean import clean
from nightscore.operations.decision import find_held
from nightscore.operations.history import run_history
from nightscore.operations.reject import reject
from nightscore.operations.replay import replay
from nightscore.operations.rollback import plan_rollback, roll_back
from nightscore.operations.verify import verify
from nightscore.outputs.publish import open_publisher
from nightscore.schemas.manifest import Manifest, Measures
from tests.faults.conftest import DAY, SEED, Lab
from tests.faults.points import CHANGES, at_each_point, run_and_be_killed_at
from tests.faults.test_kills import job_file
from tests.support.models import make_frame
from tests.support.warm_commands import run_command

Tell = Callable[[str, str, Manifest | str], None]
HOLD = {"gates": {"prediction_range": {"max": -1.0, "action": "hold"}}}
STRICT = {"limits": {"max_quarantined_rows": 100}, "policy": {"missing": "quarantine"}}
LOOSE = {"limits": {"max_quarantined_rows": 100}}


def first_and_second(lab: Lab) -> None:
    lab.inputs.clear()
    lab.changes = {}
    lab.write(make_frame(300, seed=1))
    assert lab.score(force=True).status == "published"
    lab.write(make_frame(337, seed=2))


def make_held(lab: Lab) -> None:
    first_and_second(lab)
    lab.changes = HOLD
    assert lab.score(force=True).status == "held"


def make_two_results(lab: Lab) -> None:
    first_and_second(lab)
    assert lab.score(force=True).status == "published"


def make_quarantine(lab: Lab) -> None:
    first_and_second(lab)
    frame = make_frame(337, seed=2)
    frame.loc[[3, 4, 200], "b"] = None
    lab.inputs[DAY].pop()
    lab.write(frame)
    lab.changes = STRICT
    manifest = lab.score(force=True)
    assert (manifest.status, manifest.counts.rows_quarantined) == ("published", 3)
    lab.changes = LOOSE


def approve_it(lab: Lab) -> Manifest:
    return approve(lab.job, find_held(lab.job, DAY), datetime.now(UTC))


def reject_it(lab: Lab) -> Manifest:
    return reject(lab.job, find_held(lab.job, DAY), datetime.now(UTC))


def replay_it(lab: Lab) -> Manifest:
    return replay(lab.job, DAY, pool=lab.lake.pool, cache=lab.lake.cache, now=datetime.now(UTC))


def roll_it_back(lab: Lab) -> Manifest | None:
    """To the first of all results, however often."""
    first = min(m.run_id for m in run_history(lab.job) if m.status == "published")
    (item,) = plan_rollback(lab.job, [DAY], run_id=first)
    if item.action == "leave":
        return None
    assert item.target
    return roll_back(lab.job, DAY, item.target, item.live_run_id, datetime.now(UTC), lab.lake.cache)


def score_it(lab: Lab) -> Manifest:
    changes, lab.changes = lab.changes, {}
    try:
        return lab.score(force=True)
    finally:
        lab.changes = changes


@dataclass(frozen=True)
class Case:
    """A command on a partition."""

    prepare: Callable[[Lab], None]
    again: Callable[[Lab], Manifest | None]
    before: int
    """Index of the input that readers see before; what they see after."""
    after: int
    options: Callable[[Lab], tuple[str, ...]] = lambda lab: (DAY,)


def _dates(lab: Lab) -> tuple[str, ...]:
    first = min(m.run_id for m in run_history(lab.job) if m.status == "published")
    return ("--from", DAY, "--to", DAY, "--run-id", first)


CASES = {
    "approve": Case(make_held, approve_it, 0, 1),
    "reject": Case(make_held, reject_it, 0, 0),
    "rollback": Case(make_two_results, roll_it_back, 1, 0, _dates),
    "replay": Case(make_quarantine, replay_it, 1, 1),
}


def killed(lab: Lab, name: str, n: int) -> bool:
    """Whether the command came to its n-th change and was killed there."""
    path = job_file(lab.lake, lab.job, lab.tmp_path)
    done = run_command(
        name,
        str(path),
        *CASES[name].options(lab),
        program=functools.partial(run_and_be_killed_at, n),
        NIGHTSCORE_CACHE=str(lab.lake.cache.root),
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_killed_before_each_change_then_given_again(
    lab: Lab, report: Tell, name: str, thorough: bool
) -> None:
    """In a sample: before the first three, and before every sixth one."""
    case, n_kills = CASES[name], 0
    seen: set[int] = set()
    for n in itertools.count():
        if not thorough and n > 2 and n % 6:
            continue
        case.prepare(lab)
        assert lab.check() == {DAY: case.before}
        if not killed(lab, name, n):
            break
        n_kills += 1
        seen |= set(lab.check().values())
        try:
            done = case.again(lab)
        except PartitionNotFoundError as error:  # it came to its end, and says so
            assert str(error.found).startswith({"approve": "published", "reject": "rejected"}[name])
            done = None
        assert done is None or done.error is None, done
        check_end(lab, name)
    assert lab.check() == {DAY: case.after}
    assert n_kills >= 3
    assert seen <= {case.before, case.after}
    report(
        f"{name} is killed ({lab.lake.formats})",
        f"{n_kills} times, before {'each change' if thorough else 'some changes'}",
        "old or new, then done",
    )


def check_end(lab: Lab, name: str) -> None:
    """The command is done, its record says so, and what is left over is nobody's."""
    job, store = lab.job, state_store(lab.job)
    assert lab.check() == {DAY: CASES[name].after}
    findings = verify(job, DAY, lab.lake.pool, lab.lake.cache, 50, 0).findings
    assert {finding.kind for finding in findings} <= {"input changed"}, findings
    status = {"reject": "rejected"}.get(name, "published")
    newest = next(m for m in run_history(job) if m.restores or name != "rollback")
    assert (newest.status, newest.finished_at is not None) == (status, True)
    clean(job, datetime.now(UTC) + timedelta(seconds=5), timedelta(0), delete=True)
    assert lab.check() == {DAY: CASES[name].after}
    assert not [*store.list_spools(), *predictions_store(job).list_spools()]


def test_a_run_that_died_after_its_commit_is_part_of_the_history(lab: Lab) -> None:
    """Also when the next one replaces it before anybody looks."""
    make_two_results(lab)
    live = open_publisher(Workspace(lab.job)).live(DAY)
    assert live
    state = state_store(lab.job)
    done = find_manifest(state, f"ds={DAY}", str(live.run_id))
    assert done
    sealed = {"delta": live.paths[0], "parquet": sealed_history_path(f"ds={DAY}", done.run_id)}[
        lab.lake.formats
    ]
    files = (done.output.files[0].model_copy(update={"path": sealed}),)
    before_its_commit = {"files": files, "table_version": None}
    lost = {"status": "prepared", "finished_at": None, "pid": 2**22 + 1, "measures": Measures()}
    output = done.output.model_copy(update=before_its_commit)
    write_manifest(state, f"ds={DAY}", done.model_copy(update=lost | {"output": output}))

    assert verify(lab.job, DAY, lab.lake.pool, lab.lake.cache, 50, 0).findings == ()
    assert [m.status for m in run_history(lab.job)] == ["published", "published"]
    third = lab.score(force=True)
    assert third.run_id != done.run_id, "what readers see is not gone on with"

    (item,) = plan_rollback(lab.job, [DAY])
    assert (item.action, item.target and item.target.run_id) == ("roll back", done.run_id)
    record = find_manifest(state, f"ds={DAY}", done.run_id)
    assert record
    assert (record.status, record.output.files) == ("published", done.output.files)


ACTIONS: dict[str, Callable[[Lab], Manifest | None]] = {
    "approve": approve_it,
    "reject": reject_it,
    "rollback": roll_it_back,
    "replay": replay_it,
    "run --force": score_it,
}


def others(name: str) -> list[str]:
    """What may come between: a partition that waits for a decision has nothing to replay, and the like."""
    fitting = {"approve": ("reject", "approve"), "reject": ("approve", "reject")}.get(name, (name,))
    return [*fitting, "rollback", "run --force"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_another_command_comes_between_any_two_changes(
    lab: Lab, report: Tell, name: str, monkeypatch: pytest.MonkeyPatch, thorough: bool
) -> None:
    """In a sample: between the first ones, and of the later ones every other one with either format."""
    rng, n_done, n_refused = random.Random(SEED), 0, 0
    between = others(name)
    for n in itertools.count():
        other = between[n % len(between)] if n < len(between) else rng.choice(between)
        is_other_formats = n % 2 == (lab.lake.formats == "delta")
        if not thorough and n >= len(between) and is_other_formats:
            continue
        CASES[name].prepare(lab)
        came = functools.partial(end_of, ACTIONS[other], lab)
        first, then = with_another_between(
            monkeypatch, n, functools.partial(end_of, ACTIONS[name], lab), came
        )
        if not then:
            break
        n_done += 1
        n_refused += "Error" in first or "Error" in then
        seen = f"{name} ended with {first}, {other} in between with {then}"
        assert lab.check()[DAY] >= 0, seen
        live = open_publisher(Workspace(lab.job)).live(DAY)
        assert live
        rejected = {
            manifest.run_id for manifest in run_history(lab.job) if manifest.status == "rejected"
        }
        assert live.run_id not in rejected, seen
        findings = verify(lab.job, DAY, lab.lake.pool, lab.lake.cache, 50, 0).findings
        assert {finding.kind for finding in findings} <= {"input changed"}, (seen, findings)
    assert n_done >= 3
    report(
        f"{name} beside others ({lab.lake.formats})",
        f"{n_done} times between two changes",
        f"{n_refused} refused",
    )


def with_another_between(
    monkeypatch: pytest.MonkeyPatch, n: int, action: Callable[[], str], other: Callable[[], str]
) -> tuple[str, str]:
    """How both ended; nothing for the other one if the first makes no n-th change."""
    ends: list[str] = []

    def come_between(point: int) -> None:
        if point == n and not ends:
            ends.append("")
            ends[0] = other()

    with monkeypatch.context() as patch:
        at_each_point(patch, come_between, CHANGES)
        first = action()
    return first, ends[0] if ends else ""


def end_of(action: Callable[[Lab], Manifest | None], lab: Lab) -> str:
    try:
        done = action(lab)
    except (ConflictError, PartitionNotFoundError, LocationNotFoundError) as error:
        return type(error).__name__
    if done is None:
        return "nothing to do"
    return done.error.type if done.error else done.status
