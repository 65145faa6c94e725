"""`python -m tests.bench.engine [FILE]`: shows again what was measured last, without measuring."""

import sys
from pathlib import Path

from tests.bench.engine.report import show

if __name__ == "__main__":
    show(Path(sys.argv[1] if len(sys.argv) > 1 else ".bench/engine.json"))
