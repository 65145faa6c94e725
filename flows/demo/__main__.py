"""`nightscore demo` by its former name, until the next release."""

import os
import sys

if __name__ == "__main__":
    sys.stderr.write(
        "`python -m nightscore.flows.demo` is called `nightscore demo` now; "
        "this name goes away in the next release.\n"
    )
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "nightscore.cli", "demo"])  # noqa: S606
