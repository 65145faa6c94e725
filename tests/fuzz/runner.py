"""Has children take cases, replaces those that die, and keeps what must not have happened."""

import collections
import contextlib
import json
import os
import queue
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.fuzz.cases import make_case, read_seeds

WAIT_S = 300
"""Without a word of a child, whose CPU time has a limit of its own: it waits for what never
comes."""
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Find:
    """What must not have come of a case."""

    target: str
    seed: int
    index: int
    seed_name: str
    problem: str
    only_step: int | None = None
    """The one of its steps that does it alone; None: it takes all."""

    @property
    def kind(self) -> str:
        """The problem without what differs from case to case."""
        return self.problem.split(":")[0][:80]


@dataclass
class Tally:
    """What came of a target's cases."""

    target: str
    n_cases: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    finds: list[Find] = field(default_factory=list)


class Child:
    """A process that takes cases, one after another; what ends it is told as what came of the case."""

    def __init__(
        self, seeds: Path, targets: Iterable[str], seed: int, only_step: int | None = None
    ) -> None:
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "tests.fuzz.child",
            str(seeds),
            "--seed",
            str(seed),
        ]
        command += [part for target in targets for part in ("--target", target)]
        command += [] if only_step is None else ["--only-step", str(only_step)]
        self._command = command
        self._start()

    def _start(self) -> None:
        # Threads of OpenMP's would be lost in the process that is forked.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._errors: collections.deque[str] = collections.deque(maxlen=20)
        self._threads = [
            threading.Thread(target=self._listen),
            threading.Thread(target=self._keep_errors),
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put("")

    def _keep_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors.append(line)

    def take(self, target: str, case: int | Path) -> str:
        """What came of a case: a word of `targets`, or `find ` and what was found.

        Raises:
            RuntimeError: The child ended before it began the case.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{target} {case}\n")
        self._process.stdin.flush()
        if (word := self._lines.get()) != "begin":
            self._end()
            raise RuntimeError(
                f"a child did not begin {target} {case} ({word}):\n{''.join(self._errors)}"
            )
        try:
            return self._lines.get(timeout=WAIT_S)
        except queue.Empty:
            self._end()
            self._start()
            return "find hang: waits for what never comes"

    def _end(self) -> None:
        """End it and what it has forked."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Have it end once it has done what it was told."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()


def run_cases(
    seeds: Path, target: str, seed: int, indexes: Iterator[int], until: float, tally: Tally
) -> None:
    """Take cases until there are no more, or until that time."""
    inputs = read_seeds(seeds, target)
    with Child(seeds, [target], seed) as child:
        for index in indexes:
            if time.monotonic() > until:
                break
            outcome = child.take(target, index)
            is_find = outcome.startswith("find ")
            tally.n_cases += 1
            tally.outcomes["finds" if is_find else outcome] += 1
            if is_find:
                problem, name = (
                    outcome.removeprefix("find "),
                    make_case(inputs, target, seed, index).seed_name,
                )
                tally.finds.append(
                    Find(target=target, seed=seed, index=index, seed_name=name, problem=problem)
                )


def fuzz_target(
    seeds: Path,
    target: str,
    seed: int,
    *,
    count: int,
    seconds: float,
    n_children: int,
    say: Callable[[str], None],
) -> Tally:
    """So many cases of a target, or so many seconds of them, in several children."""
    began, used = time.monotonic(), _children_cpu()
    tallies = [Tally(target) for _ in range(n_children)]
    until = began + seconds
    with ThreadPoolExecutor(n_children) as threads:
        done = [
            threads.submit(
                run_cases, seeds, target, seed, iter(range(first, count, n_children)), until, tally
            )
            for first, tally in enumerate(tallies)
        ]
        for future in done:
            future.result()
    whole = Tally(target, seconds=time.monotonic() - began, cpu_seconds=_children_cpu() - used)
    for tally in tallies:
        whole.n_cases += tally.n_cases
        whole.outcomes += tally.outcomes
        whole.finds += tally.finds
    say(_summary(whole))
    for problem, n in collections.Counter(find.problem[:160] for find in whole.finds).most_common(
        40
    ):
        say(f"    {n:>5} x {problem}")
    return whole


def _summary(tally: Tally) -> str:
    words = ", ".join(f"{n:,} {outcome}" for outcome, n in sorted(tally.outcomes.items()))
    rate = tally.n_cases / max(tally.seconds, 1e-9)
    cpu = tally.n_cases / max(tally.cpu_seconds, 1e-9)
    return f"{tally.target:<13}{tally.n_cases:>7,} cases, {rate:.1f} a second, {cpu:.1f} a second of CPU: {words}"


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def keep_finds(seeds: Path, folder: Path, tally: Tally, most: int = 3) -> None:
    """Write the files of each kind of find, by the one step that does it alone where one does."""
    by_kind: dict[str, list[Find]] = collections.defaultdict(list)
    for find in tally.finds:
        by_kind[find.kind].append(find)
    inputs = read_seeds(seeds, tally.target)
    for finds in by_kind.values():
        for find in finds[:most]:
            small = _smaller(seeds, inputs, find)
            case = make_case(inputs, find.target, find.seed, find.index, small.only_step)
            place = folder / find.target / f"{find.seed}-{find.index}"
            place.mkdir(parents=True, exist_ok=True)
            for name, content in case.files.items():
                (place / name).write_bytes(content)
            (place / "find.json").write_text(json.dumps(vars(small), indent=1))


def _smaller(seeds: Path, inputs: dict[str, dict[str, bytes]], find: Find) -> Find:
    """The same find by one of its steps alone."""
    n_steps = make_case(inputs, find.target, find.seed, find.index).n_steps
    for step in range(n_steps) if n_steps > 1 else ():
        with Child(seeds, [find.target], find.seed, step) as child:
            problem = child.take(find.target, find.index).removeprefix("find ")
        small = Find(**{**vars(find), "only_step": step, "problem": problem})
        if small.kind == find.kind:
            return small
    return find
