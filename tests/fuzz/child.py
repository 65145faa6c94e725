"""A process that takes many cases: says when it begins one, and what came of it. A case may end it."""

import argparse
import functools
import os
import resource
import signal
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

from tests.fuzz.cases import make_case, read_files, read_seeds
from tests.fuzz.targets import FoundError, run_target

CPU_SECONDS = 20
"""Of a case, then SIGPROF ends the process. Of its CPU: a busy machine makes nothing fail."""
MEMORY_BYTES = 1 << 30
"""Of address space, beyond what the libraries take."""


def main() -> None:
    """Take lines of a target and the number of a case, or the folder of one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("seeds", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--only-step", type=int)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")  # libraries write to the standard output themselves
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def say(text: str) -> None:
        answers.write(text + "\n")
        answers.flush()

    @functools.cache
    def warm_seeds(target: str) -> Mapping[str, dict[str, bytes]]:
        """A target's seeds, each of which was tried: all that a case needs is loaded and compiled."""
        _limit_memory(None)
        seeds = read_seeds(chosen.seeds, target)
        for name, files in seeds.items():
            try:
                run_target(target, files)
            except FoundError as error:
                raise RuntimeError(f"{target}, {name}: the seed itself: {error}") from error
        _limit_memory(MEMORY_BYTES)
        return seeds

    for line in sys.stdin:
        target, _, name = line.rstrip("\n").partition(" ")
        seeds = warm_seeds(target)
        if name.isdecimal():
            files = make_case(seeds, target, chosen.seed, int(name), chosen.only_step).files
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


def _limit_memory(n_bytes: int | None) -> None:
    """Of address space, beyond what is taken now; None: no limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY if n_bytes is None else taken + n_bytes, hard))


if __name__ == "__main__":
    main()
