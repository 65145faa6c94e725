"""Has children take cases, replaces those that die, and keeps what must not have happened."""

import collections
import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.cases import make_case, read_seeds

WAIT_S = 120
"""Without a word of a child whose CPU is not the limit: it waits for something that never comes."""
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
    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    finds: list[Find] = field(default_factory=list)


class Child:
    """A process for one target's cases, one after another."""

    def __init__(self, seeds: Path, target: str, seed: int, only_step: int | None = None) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz.child", target, str(seeds), "--seed", str(seed)]
        command += [] if only_step is None else ["--only-step", str(only_step)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        if self._next() != "ready":
            raise RuntimeError(f"a child for {target} did not start")

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put("")

    def _next(self) -> str:
        """Its next word; empty: it has ended or is waiting for ever."""
        try:
            return self._lines.get(timeout=WAIT_S)
        except queue.Empty:
            self._process.kill()
            return ""

    def take(self, index: int) -> str | None:
        """What came of a case; None: the child died of it, and says why by `death`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{index}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        while line := self._next():
            word, _, rest = line.partition(" ")
            if word == "end":
                return rest.partition(" ")[2]
        return None

    @property
    def death(self) -> str:
        code = self._process.wait()
        if code == -signal.SIGPROF:
            return "hang: more CPU time than a case may take"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}"

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def run_cases(seeds: Path, target: str, seed: int, indexes: Iterator[int], until: float, tally: Tally) -> None:
    """Take cases until there are no more, or until that time."""
    inputs = read_seeds(seeds, target)
    child = Child(seeds, target, seed)
    for index in indexes:
        if time.monotonic() > until:
            break
        outcome = child.take(index)
        problem = ""
        if outcome is None:
            problem = child.death
            child = Child(seeds, target, seed)
        elif outcome.startswith("find "):
            problem = outcome.removeprefix("find ")
        tally.n_cases += 1
        tally.outcomes["find" if problem else str(outcome)] += 1
        if problem:
            name = make_case(inputs, target, seed, index).seed_name
            tally.finds.append(Find(target=target, seed=seed, index=index, seed_name=name, problem=problem))
    child.close()


def fuzz_target(
    seeds: Path, target: str, seed: int, *, count: int, seconds: float, n_children: int, say: Callable[[str], None]
) -> Tally:
    """So many cases of a target, or so many seconds of them, in several children."""
    began = time.monotonic()
    tallies = [Tally(target) for _ in range(n_children)]
    until = began + seconds
    with ThreadPoolExecutor(n_children) as threads:
        done = [
            threads.submit(run_cases, seeds, target, seed, iter(range(first, count, n_children)), until, tally)
            for first, tally in enumerate(tallies)
        ]
        for future in done:
            future.result()
    whole = Tally(target, seconds=time.monotonic() - began)
    for tally in tallies:
        whole.n_cases += tally.n_cases
        whole.outcomes += tally.outcomes
        whole.finds += tally.finds
    words = ", ".join(f"{n:,} {outcome}" for outcome, n in sorted(whole.outcomes.items()))
    say(f"{target:<13}{whole.n_cases:>7,} cases, {whole.n_cases / max(whole.seconds, 1e-9):5.1f} a second: {words}")
    for kind, n in collections.Counter(find.problem[:160] for find in whole.finds).most_common(40):
        say(f"    {n:>5} x {kind}")
    return whole


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
        child = Child(seeds, find.target, find.seed, step)
        outcome = child.take(find.index)
        problem = child.death if outcome is None else outcome.removeprefix("find ")
        child.close()
        if problem.split(":")[0][:80] == find.kind:
            return Find(**{**vars(find), "only_step": step, "problem": problem})
    return find
