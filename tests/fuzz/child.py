"""A process that takes many cases: says when it begins one, and what came of it.

Loading and compiling takes seconds: it is done once, by a process that then forks one which takes
the cases. Where a case ends that one, its end is what came of the case, and the next is forked.
"""

import argparse
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from tests.fuzz.cases import make_case, read_files, read_seeds
from tests.fuzz.seeds import TARGETS
from tests.fuzz.targets import FoundError, run_target

CPU_SECONDS = 20
"""Of a case, then SIGPROF ends the process. Of its CPU: a busy machine makes nothing fail."""
MEMORY_BYTES = 1 << 30
"""Of address space, beyond what the libraries take."""
FORKED = "mlmodel", "footers"
"""Need little, and have processes of their own: tried first by the process that takes the cases."""

Seeds = Mapping[str, Mapping[str, dict[str, bytes]]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("seeds", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--target", choices=TARGETS, action="append", required=True)
    parser.add_argument("--only-step", type=int)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")  # libraries write to the standard output themselves
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def say(text: str) -> None:
        answers.write(text + "\n")
        answers.flush()

    seeds: Seeds = {target: read_seeds(chosen.seeds, target) for target in chosen.target}
    _warm(seeds, [target for target in seeds if target not in FORKED])
    while True:
        worker = os.fork()
        if not worker:
            _warm(seeds, [target for target in seeds if target in FORKED])
            _take_cases(seeds, chosen.seed, chosen.only_step, sys.stdin, say)
            os._exit(0)
        _, status = os.waitpid(worker, 0)
        if not status:
            return
        say(f"find {_death(os.waitstatus_to_exitcode(status))}")


def _warm(seeds: Seeds, targets: list[str]) -> None:
    """Try each seed: all that a case needs is loaded and compiled."""
    for target in targets:
        for name, files in seeds[target].items():
            try:
                run_target(target, files)
            except FoundError as error:
                raise RuntimeError(f"{target}, {name}: the seed itself: {error}") from error


def _death(code: int) -> str:
    if code == -signal.SIGPROF:
        return "hang: more CPU time than a case may take"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit {code}"


def _take_cases(
    seeds: Seeds, seed: int, only_step: int | None, lines: TextIO, say: Callable[[str], None]
) -> None:
    """Take lines of a target and the number of a case, or the folder of one, until there are no more."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY_BYTES, taken + MEMORY_BYTES))
    # Line by line: what is read ahead would be lost with the process.
    while line := lines.readline():
        target, _, name = line.rstrip("\n").partition(" ")
        if name.isdecimal():
            files = make_case(seeds[target], target, seed, int(name), only_step).files
        else:
            files = read_files(Path(name))
        say("begin")
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            outcome = run_target(target, files)
        except FoundError as error:
            outcome = f"find {' '.join(str(error).split())}"
        except MemoryError:
            outcome = "find MemoryError"
        signal.setitimer(signal.ITIMER_PROF, 0)
        say(outcome)


if __name__ == "__main__":
    main()
