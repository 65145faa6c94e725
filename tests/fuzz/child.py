"""A process that takes many cases: says when it begins one, and what came of it. A case may end it."""

import argparse
import resource
import signal
import sys
import warnings
from pathlib import Path

CPU_SECONDS = 20
"""Of a case, then SIGPROF ends the process. Of its CPU: a busy machine makes nothing fail."""
MEMORY_BYTES = 1 << 30
"""Of address space, beyond what the libraries take."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("seeds", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--only-step", type=int)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")

    from tests.fuzz.cases import make_case, read_seeds
    from tests.fuzz.targets import FoundError, run_target

    seeds = read_seeds(chosen.seeds, chosen.target)
    for files in seeds.values():  # loads and compiles all that a case needs
        run_target(chosen.target, files)
    _limit_memory()
    _say("ready")
    for line in sys.stdin:
        index = int(line)
        case = make_case(seeds, chosen.target, chosen.seed, index, chosen.only_step)
        _say(f"begin {index}")
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            outcome = run_target(chosen.target, case.files)
        except FoundError as error:
            outcome = f"find {' '.join(str(error).split())}"
        except MemoryError:
            outcome = "find MemoryError"
        signal.setitimer(signal.ITIMER_PROF, 0)
        _say(f"end {index} {outcome}")


def _limit_memory() -> None:
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY_BYTES, taken + MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
