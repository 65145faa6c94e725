"""Parts, quarantine, the atomic commit, and the records of runs."""
