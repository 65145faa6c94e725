"""`make fuzz`: changed inputs of each kind in child processes, repeatable from a seed."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.runner import fuzz_target, keep_finds
from tests.fuzz.seeds import TARGETS, write_seeds

COUNT = 10_000
N_CHILDREN = 2


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=COUNT, help="cases of each target")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="at most, for each target"
    )
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument(
        "--finds", type=Path, default=Path(tempfile.gettempdir(), "nightscore-finds")
    )
    chosen = parser.parse_args()

    began = time.monotonic()
    say(f"seed {chosen.seed}")
    n_cases = n_finds = 0
    with tempfile.TemporaryDirectory(prefix="nightscore-seeds-") as spool:
        seeds = Path(spool)
        write_seeds(seeds, chosen.target or ())
        for target in chosen.target or TARGETS:
            tally = fuzz_target(
                seeds,
                target,
                chosen.seed,
                count=chosen.count,
                seconds=chosen.seconds,
                n_children=N_CHILDREN,
                say=say,
            )
            keep_finds(seeds, chosen.finds, tally)
            n_cases += tally.n_cases
            n_finds += len(tally.finds)
    minutes = (time.monotonic() - began) / 60
    say(
        f"{n_cases:,} cases in {minutes:.1f} minutes: {n_finds:,} finds"
        + (f", in {chosen.finds}" if n_finds else "")
    )
    return 1 if n_finds else 0


if __name__ == "__main__":
    sys.exit(main())
