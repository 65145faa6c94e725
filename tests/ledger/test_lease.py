"""One command at a time changes a partition; whoever is gone, or slept, is not in the way and touches nothing."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from nightscore.errors import ConflictError, LeaseError
from nightscore.ledger import liveness
from nightscore.ledger.layout import lease_path, state_store
from nightscore.ledger.lease import Holder, Lease
from nightscore.process import is_running, machine, process_start
from nightscore.schemas.job import ScoringJob
from nightscore.storage.store import Store
from tests.support.lake import Lake

FOLDER = "ds=2024-02-29"
PATH = lease_path(FOLDER)


def left_behind(job: ScoringJob, **changes: object) -> Holder:
    """A lease that a command holds which is not of this process."""
    holder = Holder(
        token="other",
        command="clean",
        host="elsewhere",
        pid=os.getppid(),
        machine="elsewhere",
        process_start="",
        since="2024-03-01 02:00:00",
    )
    holder = replace(holder, **changes)  # type: ignore[arg-type]
    state_store(job).create(PATH, holder.content)
    return holder


def test_one_holds_it_and_the_other_is_told_who_does(any_lake: Lake) -> None:
    job = any_lake.job()
    first, second = Lease(job, FOLDER, "clean"), Lease(job, FOLDER, "rollback")
    with first:
        first.acquire()  # has it already
        with pytest.raises(LeaseError) as caught:
            second.acquire(0.0)
        assert (
            f"`nightscore clean` on host {os.uname().nodename} (process {os.getpid()}), since 20"
            in str(caught.value)
        )
        assert "run the command again once that one has ended" in str(caught.value)
        second.release()  # what it does not hold
        first.check()
        Lease(job, "ds=2024-03-01", "rollback").acquire(0.0)
    with second:
        pass
    assert not state_store(job).exists(PATH)


def test_whoever_waits_gets_it_once_it_is_free(any_lake: Lake) -> None:
    job, waits, is_held = any_lake.job(), threading.Event(), threading.Event()
    first = Lease(job, FOLDER, "clean")

    def second() -> None:
        waits.set()
        with Lease(job, FOLDER, "rollback") as lease:
            is_held.set()
            lease.check()

    with ThreadPoolExecutor(1) as threads:
        first.acquire()
        waiting = threads.submit(second)
        waits.wait()
        first.check()
        assert not is_held.is_set()
        first.release()
        waiting.result()

    assert is_held.is_set()


def test_of_many_one_holds_it(any_lake: Lake) -> None:
    job, inside = any_lake.job(), []

    def change(n: int) -> None:
        with Lease(job, FOLDER, "run") as lease:
            inside.append(n)
            lease.check()
            assert inside == [n]
            inside.remove(n)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(change, range(12)))


def test_a_killed_holder_is_no_longer_in_the_way(lake: Lake) -> None:
    job = lake.job()
    code = (
        "import json, os, signal, sys\n"
        "from nightscore.inputs.jobfile import parse_job\n"
        "from nightscore.ledger.lease import Lease\n"
        "Lease(parse_job(json.loads(sys.argv[1])), sys.argv[2], 'run').acquire()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, job.model_dump_json(), FOLDER], check=False)
    assert done.returncode < 0
    assert state_store(job).exists(PATH)
    Lease(job, FOLDER, "run").acquire(0.0)  # at once: its process is gone


def test_another_process_with_its_number_is_not_the_holder(lake: Lake) -> None:
    job = lake.job()
    left_behind(job, machine=machine(), pid=os.getppid(), process_start="1")
    Lease(job, FOLDER, "run").acquire(0.0)
    assert is_running(os.getppid(), process_start(os.getppid()))
    assert not is_running(2**22 + 1, "")


def test_what_could_not_be_removed_is_not_in_the_way_of_its_process(lake: Lake) -> None:
    job = lake.job()
    left_behind(job, machine=machine(), pid=os.getpid(), process_start=process_start(os.getpid()))
    Lease(job, FOLDER, "run").acquire(0.0)


@pytest.mark.parametrize("is_readable", [True, False])
def test_a_silent_holder_elsewhere_is_taken_over_by_the_store_s_clock(
    any_lake: Lake, monkeypatch: pytest.MonkeyPatch, is_readable: bool
) -> None:
    job = any_lake.job()
    left_behind(job)
    if not is_readable:
        state_store(job).write_bytes(PATH, b"")
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 4e9)  # this host's clock
        with pytest.raises(
            LeaseError, match="on host elsewhere" if is_readable else "an unknown command"
        ):
            Lease(job, FOLDER, "run").acquire(0.0)
    monkeypatch.setattr(liveness, "LEASE_TIMEOUT_S", -60.0)
    with ThreadPoolExecutor(4) as threads:
        leases = [Lease(job, FOLDER, "run") for _ in range(4)]
        monkeypatch.setattr(
            Lease, "_has_timed_out", lambda self, holder: holder is None or holder.token == "other"
        )
        list(threads.map(try_it, leases))
    assert sum(lease._holder is not None for lease in leases) == 1


def try_it(lease: Lease) -> None:
    try:
        lease.acquire(0.0)
    except LeaseError:
        return


def test_who_slept_and_lost_it_notices_and_removes_nothing(any_lake: Lake) -> None:
    job = any_lake.job()
    sleeper = Lease(job, FOLDER, "rollback")
    sleeper.acquire()
    sleeper._last_heartbeat -= 1_000
    sleeper.check()  # nobody has taken it
    state_store(job).delete([PATH])
    other = left_behind(job)
    sleeper._last_heartbeat -= 1_000
    with pytest.raises(LeaseError, match=r"held by `nightscore clean` on host elsewhere"):
        sleeper.check()
    with pytest.raises(LeaseError):
        sleeper.check()
    sleeper.release()
    assert state_store(job).read_bytes(PATH) == other.content


def test_a_holder_gives_signs_of_life(any_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    job, seen = any_lake.job(), threading.Event()
    swap = Store.swap

    def swapped(self: Store, path: str, expected: bytes, data: bytes) -> None:
        swap(self, path, expected, data)
        seen.set()

    monkeypatch.setattr(liveness, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(Store, "swap", swapped)
    with Lease(job, FOLDER, "clean") as lease:
        first = state_store(job).read_bytes(PATH)
        assert seen.wait(60)
        assert state_store(job).read_bytes(PATH) != first
        lease.check()
    assert not state_store(job).exists(PATH)


def test_of_several_swaps_one_succeeds(any_lake: Lake) -> None:
    state = state_store(any_lake.job())
    state.create("x", b"0")

    def swapped(n: int) -> bool:
        try:
            state.swap("x", b"0", b"%d" % (n + 1))
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        won = list(threads.map(swapped, range(8)))
    assert won.count(True) == 1
    assert state.read_bytes("x") == b"%d" % (won.index(True) + 1)
    for gone in ("y", "folder/y"):
        with pytest.raises(ConflictError):
            state.swap(gone, b"0", b"1")
    assert not state.list_spools()


def test_a_store_that_cannot_tell_has_no_leases() -> None:
    assert not Store("gs://bucket/x").is_conditional
