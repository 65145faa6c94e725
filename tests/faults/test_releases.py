"""Promotions and demotions that die before any of their changes, or meet another's."""

import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from nightscore.errors import ConflictError, ScoringError
from nightscore.inputs.jobfile import parse_job
from nightscore.ledger.release_log import ReleaseLog
from nightscore.models.aliases import Alias, alias_of_job
from nightscore.operations.releases.completion import abandon, complete
from nightscore.operations.releases.entries import NewEntry, begin, read_noticing
from nightscore.operations.releases.put_back import plan_put_back, put_back
from nightscore.operations.releases.target import find_target
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.release_entry import VersionRecord
from tests.faults.points import CHANGES, at_each_point
from tests.operations.releases.conftest import DAYS, PLACES, Lab, make_lab

Tell = Callable[[str, str, Manifest | str], None]
POINTS = (*CHANGES, (Alias, "move"), (Alias, "note_log"))


class KilledError(BaseException):
    """What a command meets in place of SIGKILL: nothing of nightscore catches it."""


@pytest.fixture(params=PLACES)
def release_lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    kind, formats = request.param
    roots = {"local": f"{tmp_path}/lake", "memory": f"fake://bucket/{tmp_path.name}"}
    options: dict[str, Any] = {}
    if kind == "s3":
        options = request.getfixturevalue("s3_server").options
        roots["s3"] = f"s3://lake/{tmp_path.name}"
    yield from make_lab(roots[kind], options, formats, tmp_path)


@pytest.fixture
def memory_lab(tmp_path: Path) -> Iterator[Lab]:
    yield from make_lab(f"fake://bucket/{tmp_path.name}", {}, "parquet", tmp_path)


def points(lab: Lab, thorough: bool, step: int = 1) -> Iterator[int]:
    """The changes to die before: all of them, or every so many; fewer on a store that is slow."""
    if lab.lake.options:
        step *= 4
    return itertools.count(step=1 if thorough else step)


def killed(monkeypatch: pytest.MonkeyPatch, n: int, command: Callable[[], object]) -> bool:
    """Whether the command came to its n-th change and ended there."""

    def die(point: int) -> None:
        if point == n:
            raise KilledError

    with monkeypatch.context() as patched:
        at_each_point(patched, die, POINTS)
        try:
            command()
        except KilledError:
            return True
    return False


def check_in_between(lab: Lab, versions: set[str]) -> None:
    """The alias means the old version or the new one, and no entry claims more than is true."""
    assert lab.live in versions
    for kind, _, after, outcome in lab.told():
        if (kind, after, outcome) == ("promoted", "2", "done"):
            assert lab.live == "2" or "demoted" in [told[0] for told in lab.told()]


def test_a_promotion_killed_before_each_change_is_completed_by_the_same_command(
    release_lab: Lab, monkeypatch: pytest.MonkeyPatch, report: Tell, thorough: bool
) -> None:
    lab, n_kills = release_lab, 0
    for n in points(release_lab, thorough):
        lab.move_by_hand("1")
        lab.registry.tags.clear()
        ReleaseLog(lab.job, "delay", "champion")._root.delete_tree("releases")

        if not killed(monkeypatch, n, lambda: lab.promote("2")):
            break
        n_kills += 1
        check_in_between(lab, {"1", "2"})
        lab.promote("2")
        assert lab.live == "2"
        assert lab.told() == [("promoted", "1", "2", "done")], f"killed before change {n}"
        assert len(lab.registry.tags["delay"]) == 1

    assert lab.told() == [("promoted", "1", "2", "done")]
    assert n_kills >= 4
    report("promote is killed", f"{n_kills} times", "completed, one entry")


def test_a_demotion_killed_before_each_change_is_completed_by_the_same_command(
    release_lab: Lab, monkeypatch: pytest.MonkeyPatch, report: Tell, thorough: bool
) -> None:
    """With what it puts back: either day is seen as before or after, and at the end as before.

    What a rollback does is killed at each point elsewhere.
    """
    lab, n_kills = release_lab, 0
    for day in DAYS:
        lab.lake.run(lab.job, day)
    before = lab.predictions()

    def demote() -> None:
        lab.demote()
        target = find_target(lab.job, "demote")
        done = list(put_back(target, plan_put_back(target), lab.lake.cache))
        assert all(manifest.error is None for manifest in done), done

    for n in points(lab, thorough, step=2):
        lab.promote("2")
        for day in DAYS:
            lab.lake.run(lab.job, day, force=True)
        n_entries = len(lab.log())

        if not killed(monkeypatch, n, demote):
            break
        n_kills += 1
        check_in_between(lab, {"1", "2"})
        assert set(lab.predictions().values()) <= {0.5, 1.5}
        demote()
        assert lab.live == "1"
        assert lab.predictions() == before, f"killed before change {n}"
        assert lab.told()[n_entries:] == [("demoted", "2", "1", "done")]

    assert lab.predictions() == before
    assert n_kills >= 2
    report("demote --with-predictions is killed", f"{n_kills} times", "completed, all put back")


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_a_proposal_and_its_decision_killed_before_each_change_are_completed(
    release_lab: Lab, monkeypatch: pytest.MonkeyPatch, report: Tell, thorough: bool, verdict: str
) -> None:
    lab, n_kills = release_lab, 0
    lab.changes = {"release": {"approval": "required"}}

    def decide() -> None:
        lab.promote("2")
        if verdict == "approve":
            lab.approve("2")
        else:
            lab.reject("2")

    ends = {
        "approve": ("2", [("promoted", "1", "2", "done")]),
        "reject": ("1", [("rejected", "1", "2", "")]),
    }
    for n in points(lab, thorough):
        lab.move_by_hand("1")
        lab.registry.tags.clear()
        ReleaseLog(lab.job, "delay", "champion")._root.delete_tree("releases")

        is_killed = killed(monkeypatch, n, decide)
        n_kills += is_killed
        if is_killed and not lab.told():
            assert lab.live == "1", "the alias does not move before the decision"
        if is_killed and lab.told() == ends["reject"][1]:
            lab.reject("2")
        elif is_killed and not (lab.log() and lab.log()[-1].is_effective):
            decide()
        assert (lab.live, lab.told()) == ends[verdict], f"killed before change {n}"
        if not is_killed:
            break

    assert n_kills >= 2
    report(f"promote and {verdict} are killed", f"{n_kills} times", "completed, one entry")


@pytest.mark.parametrize("first", ["approve", "reject"])
@pytest.mark.parametrize("second", ["approve", "reject"])
def test_of_two_who_decide_one_succeeds(
    memory_lab: Lab, monkeypatch: pytest.MonkeyPatch, report: Tell, first: str, second: str
) -> None:
    """The second comes between, before each change of the first."""
    lab, n_refused = memory_lab, 0
    lab.changes = {"release": {"approval": "required"}}

    def decide(verb: str, by: str) -> str:
        return end_of(lambda: getattr(lab, verb)("2", by=by))

    for n in itertools.count():
        lab.move_by_hand("1")
        lab.registry.tags.clear()
        ReleaseLog(lab.job, "delay", "champion")._root.delete_tree("releases")
        lab.promote("2")
        ends: list[str] = []

        def come_between(point: int, n: int = n, ends: list[str] = ends) -> None:
            if point == n and not ends:
                ends.append("")
                ends[0] = decide(second, "bert@host")

        with monkeypatch.context() as patched:
            at_each_point(patched, come_between, POINTS)
            end = decide(first, "carl@host")

        if not ends:
            break
        n_refused += "ConflictError" in (end, ends[0])
        (release,) = lab.log()
        decision = release.entry.decision
        assert decision is not None
        is_live = decision.verdict == "approved"
        assert (lab.live, release.is_effective) == ("2" if is_live else "1", is_live)
        assert not release.is_pending

    assert n_refused >= 1
    report(f"{second} beside {first}", f"before each of {n} changes", f"{n_refused} refused")


def test_of_many_promoters_at_once_one_wins(release_lab: Lab, report: Tell) -> None:
    """Each wants another version, and all have read the same log."""
    lab, n_rounds = release_lab, 3
    lab.lake.run(lab.job, DAYS[0])
    lab.promote("2")
    for number in range(n_rounds):
        wanted = ["1", "3"] if lab.live == "2" else ["2", "3"] if lab.live == "1" else ["1", "2"]
        n_before, barrier = len(lab.log()), Barrier(2)

        def attempt(version: str, barrier: Barrier = barrier) -> str:
            barrier.wait()
            try:
                lab.promote(version)
            except ConflictError as error:
                return type(error).__name__
            return version

        with ThreadPoolExecutor(2) as threads:
            ends = list(threads.map(attempt, wanted))

        winners = [end for end in ends if end != "ConflictError"]
        told = lab.told()
        assert winners, ends
        assert len(told) - n_before == len(winners), "each that succeeded has an entry of its own"
        assert {kind for kind, *_ in told} == {"promoted"}
        assert lab.live == told[-1][2], number
        for previous, following in itertools.pairwise(told):
            assert following[1] == previous[2], "each began from what the one before has made live"
    report(
        "two promote at once", f"{n_rounds} times, two versions", "one after another, or refused"
    )


@pytest.mark.parametrize("other", ["promote", "demote", "abandon"])
def test_another_command_comes_between_any_two_changes_of_a_promotion(
    memory_lab: Lab, monkeypatch: pytest.MonkeyPatch, report: Tell, other: str
) -> None:
    """Whoever is refused, the alias means what the newest entry that took effect says."""
    lab, n_refused = memory_lab, 0
    lab.promote("2")

    for n in itertools.count():
        ends: list[str] = []

        def come_between(point: int, n: int = n, ends: list[str] = ends) -> None:
            if point != n or ends:
                return
            ends.append("")
            target = find_target(lab.job, "promote")
            commands: dict[str, Callable[[], object]] = {
                "promote": lambda: lab.promote("3"),
                "demote": lambda: lab.demote(lab.log()[-1].entry.before.version),  # type: ignore[union-attr]
                "abandon": lambda: abandon(target, "bert@host", "wrong"),
            }
            ends[0] = end_of(commands[other])

        with monkeypatch.context() as patched:
            at_each_point(patched, come_between, POINTS)
            first = end_of(lambda: lab.promote("1"))

        if not ends:
            break
        n_refused += "Error" in first or "Error" in ends[0]
        *_, newest = [told for told in lab.told() if told[3] == "done" or told[0] == "moved"]
        assert lab.live == newest[2], (n, first, ends, lab.told())
        assert not lab.log()[-1].is_pending
        lab.promote("2")

    assert n_refused >= 2
    report(f"{other} beside promote", "before each of its changes", f"{n_refused} refused")


def end_of(command: Callable[[], object]) -> str:
    try:
        command()
    except ScoringError as error:
        return type(error).__name__
    return "done"


def test_an_alias_moved_by_hand_before_any_change_is_never_overwritten_silently(
    release_lab: Lab, monkeypatch: pytest.MonkeyPatch, report: Tell, thorough: bool
) -> None:
    """Up to the request that moves the alias itself: MLflow takes no condition with it."""
    lab, n_moves = release_lab, 0
    lab.promote("2")
    for n in points(lab, thorough):
        moved: list[int] = []

        def by_hand(point: int, n: int = n, moved: list[int] = moved) -> None:
            if point == n:
                moved.append(point)
                lab.move_by_hand("3")

        is_last = False
        with monkeypatch.context() as patched:
            at_each_point(patched, by_hand, CHANGES)
            try:
                lab.promote("1")
                is_last = not moved
            except ConflictError as error:
                assert "by other means" in str(error)

        if is_last:
            break
        n_moves += 1
        lab.lake.run(lab.job, DAYS[0])
        told = lab.told()
        assert any(kind == "moved" and after == "3" for kind, _, after, _ in told[-2:]), told
        assert lab.live == "3"
        lab.promote("2")

    assert n_moves >= 2
    report("an alias is moved by hand", f"{n_moves} times during promote", "left, and in the log")


MODEL_TEXT = """
flavors:
  python_function: {loader_module: mlflow.sklearn, python_version: 3.11.7}
"""


def release_in_a_process(root: str, uri: str, version: str, kill_at: int) -> None:
    """Begin an entry and complete it, as `promote` does once a version was checked."""
    job = parse_job(
        {
            "name": "race",
            "model": "models:/mine@champion",
            "registry": uri,
            "input": f"{root}/in",
            "output": f"{root}/out",
        }
    )

    def die(point: int) -> None:
        if point == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patched:
        at_each_point(patched, die, POINTS)
        try:
            target = find_target(job, "promote")
            releases = read_noticing(target)
            target.check_complete(releases)
            live = VersionRecord(version=str(target.alias.version()))
            new = NewEntry(
                kind="promoted", before=live, after=VersionRecord(version=version), by="one"
            )
            complete(target, begin(target, releases, new), "one")
        except ScoringError as error:
            sys.exit(error.exit_code)


@pytest.mark.slow
def test_processes_race_and_are_killed_on_a_real_registry(
    tmp_path: Path, empty_registry: Path, report: Tell
) -> None:
    """MLflow's own SQLite store, two processes at a time, then one that is killed at each point."""
    import shutil

    import mlflow

    from tests.support.models import register

    uri = f"sqlite:///{shutil.copy(empty_registry, tmp_path / 'mlflow.db')}"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text(MODEL_TEXT)
    for _ in range(3):
        register(client, "mine", tmp_path / "model")
    client.set_registered_model_alias("mine", "champion", "1")
    job = parse_job(
        {
            "name": "race",
            "model": "models:/mine@champion",
            "registry": uri,
            "input": f"{tmp_path}/in",
            "output": f"{tmp_path}/out",
        }
    )
    alias = alias_of_job(job)
    assert alias is not None
    forking = get_context("forkserver")

    def start(version: str, kill_at: int = -1) -> Any:
        process = forking.Process(
            target=release_in_a_process, args=(str(tmp_path), uri, version, kill_at)
        )
        process.start()
        return process

    both = [start("2"), start("3")]
    for process in both:
        process.join()
    codes = sorted(process.exitcode for process in both)
    assert codes in ([0, 0], [0, 4]), "one wins; the other comes after it, or is refused"
    log = ReleaseLog(job, "mine", "champion").read()
    assert len(log) == codes.count(0)
    assert alias.version() == log[-1].entry.after.version

    for n in (1, 2):  # before the alias moves, and before the outcome is written
        wanted = "1" if alias.version() != "1" else "2"
        process = start(wanted, n)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        target = find_target(job, "promote")
        *earlier, pending = target.log.read()
        assert pending.is_pending
        assert (alias.version() == wanted) is (n == 2)

        complete(target, pending, "again")
        assert alias.version() == wanted
        assert len(target.log.read()) == len(earlier) + 1
        assert all(release.is_effective for release in target.log.read())

    assert client.get_registered_model("mine").tags == {
        "nightscore.release_log.champion": ReleaseLog(job, "mine", "champion").place
    }
    report("promoters on MLflow's SQLite", "2 at once, 2 kills", "one entry each")
