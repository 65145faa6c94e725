"""A worker that is forked: its answers, its errors, and its end. Each in a process with one thread."""

import subprocess
import sys

BEGIN = """
import os, pathlib, signal, sys, threading, time
from concurrent.futures import BrokenExecutor
from nightscore.arrow.parsing import client, server
from nightscore.engine import executor, forked_process
from nightscore.engine.forked_executor import ForkedExecutor
from nightscore.errors import CorruptFileError

def error_of(future):
    return future.exception(20)

def children():
    return pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
"""


def check(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BEGIN + code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_calls_are_answered_in_turn_with_results_or_errors() -> None:
    check("""
worker = ForkedExecutor(lambda: 1 / 0)  # what fails before the first call is left to the calls
answers = [worker.submit(divmod, 17, divisor) for divisor in (5, 0, 3)]
assert answers[0].result(20) == (3, 2) and answers[2].result(20) == (5, 2)
assert isinstance(error_of(answers[1]), ZeroDivisionError)
assert "Traceback" in str(error_of(answers[1]).__cause__)

lost = error_of(worker.submit(exec, "raise ValueError(lambda: 1)"))
assert type(lost) is RuntimeError and "ValueError" in str(lost), "an error need not pickle"
assert error_of(worker.submit(eval, "lambda: 1")), "an answer that does not pickle is an error"
assert worker.submit(len, bytes(3_000_000)).result(20) == 3_000_000
assert worker.submit(os.getpid).result(20) == worker.pid
worker.end()
assert not children()
""")


def test_a_worker_that_dies_fails_all_calls_and_says_how() -> None:
    check("""
worker = ForkedExecutor(list)
first, second = worker.submit(os.abort), worker.submit(os.getpid)
for future in (first, second):
    assert isinstance(error_of(future), BrokenExecutor) and "signal 6" in str(error_of(future))
assert executor.is_broken(worker)
try:
    worker.submit(os.getpid)
except BrokenExecutor:
    worker.end()
assert not children()

idle = ForkedExecutor(list)
os.kill(idle.pid, signal.SIGKILL)
while not executor.is_broken(idle):
    time.sleep(0.01)
idle.end()
""")


def test_a_worker_is_ended_in_the_middle_of_a_call() -> None:
    check("""
worker = ForkedExecutor(list)
under_way = worker.submit(time.sleep, 600)
executor.end_executor(worker)
assert isinstance(error_of(under_way), BrokenExecutor) and not children()
""")


def test_the_first_executor_is_the_early_worker_unless_more_are_wanted() -> None:
    check("""
before = dict(os.environ)
with executor.environment_of_workers():
    assert os.environ["OMP_NUM_THREADS"] == "1"
assert dict(os.environ) == before

listening = signal.getsignal(signal.SIGINT)
executor.fork_early()
worker = executor.open_executor(1)
assert isinstance(worker, ForkedExecutor)
assert worker.submit(signal.getsignal, signal.SIGINT).result(20) is signal.SIG_IGN
assert worker.submit(os.getenv, "OMP_NUM_THREADS").result(20) == "1"
assert signal.getsignal(signal.SIGINT) is listening

executor._start = str  # in place of loky's
assert executor.grow_executor(worker, 2) == "2" and not children()
""")


def test_each_executor_takes_one_of_several_early_workers() -> None:
    check("""
executor.fork_early()
executor.fork_early()
first, second = executor.open_executor(1), executor.open_executor(1)
assert isinstance(second, ForkedExecutor) and first.pid != second.pid
assert first.submit(os.getpid).result(20) == first.pid
assert second.submit(os.getpid).result(20) == second.pid
executor._start = str  # in place of loky's
assert executor.open_executor(1) == "1"

executor.end_executor(first)
assert second.submit(os.getpid).result(20) == second.pid
executor.end_executor(second)
executor.fork_early()
executor.fork_early()
executor.end_early()
assert not children()
""")


def test_a_process_with_threads_is_not_forked() -> None:
    check("""
assert forked_process.can_fork()
waits = threading.Event()
threading.Thread(target=waits.wait).start()
assert not forked_process.can_fork()
waits.set()
""")


def test_a_forked_parser_is_bounded_and_replaced_as_one_that_is_started() -> None:
    check("""
import pyarrow.parquet
child = forked_process.ForkedProcess(server.serve_forked, "parser")
client.adopt(child)
assert client.call(os.getpid, where="") == child.pid
assert client.call(os.getsid, 0, where="") == child.pid
assert client.call(eval, "__import__('pyarrow').default_memory_pool().backend_name", where="") == "system"
try:
    client.call(bytearray, 2 * client.CALL_BYTES, where="a.parquet")
except MemoryError:
    assert client.call(os.getpid, where="") == child.pid
try:
    client.call(os.abort, where="a.parquet", attempts=1)
except CorruptFileError as error:
    assert "SIGABRT" in str(error)
client.end_all()
assert not children()
""")


def test_a_command_forks_after_its_imports_which_start_no_thread() -> None:
    check("""
from nightscore.cli.early_processes import start_early

start_early(n_workers=1)
(parser,) = client._idle
assert isinstance(parser._process, forked_process.ForkedProcess)
worker = executor.open_executor(1)
assert isinstance(worker, ForkedExecutor)
pool = worker.submit(eval, "__import__('pyarrow').default_memory_pool().backend_name").result(20)
assert pool == executor.ENVIRONMENT["ARROW_DEFAULT_MEMORY_POOL"]
assert executor.JEMALLOC not in os.environ
worker.end()
client.end_all()
assert not children()
""")


def test_a_command_does_not_fork_if_arrow_has_another_allocator() -> None:
    """It may reserve more address space than the process that parses may have."""
    check("""
os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
import pyarrow
from nightscore.cli.early_processes import start_early

start_early(n_workers=0)
(parser,) = client._idle
assert not isinstance(parser._process, forked_process.ForkedProcess)
client.end_all()
""")
