"""`make soak`: many faults and kills over a backfill, repeatable from a seed."""

import argparse
import sys
import time

from tests.faults.soak import soak

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--faults", type=int, default=200)
parser.add_argument("--kills", type=int, default=500)
parser.add_argument("--days", type=int, default=10)
parser.add_argument("--format", choices=["delta", "parquet"], default="delta")
chosen = parser.parse_args()

began = time.monotonic()
sys.stdout.write(f"seed {chosen.seed}, {chosen.format}\n")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


done = soak(chosen.seed, chosen.faults, chosen.kills, chosen.days, chosen.format, say)
say(f"the table is complete and right after {done.summary()}, in {time.monotonic() - began:.0f} s")
