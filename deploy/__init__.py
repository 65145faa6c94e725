"""What is shipped beside the code: automations, tested versions, the runbook, examples."""

from pathlib import Path

if __name__ != "nightscore.deploy":
    from nightscore.schemas.import_name import refuse_folder_name

    refuse_folder_name(__name__, "nightscore.deploy")

FOLDER = Path(__file__).resolve().parent
AUTOMATIONS = FOLDER / "automations"
"""What Prefect does by itself on events of runs, one file each."""
CONSTRAINTS = FOLDER / "constraints.txt"
"""Versions that were tested together, for `pip install -c`."""
RUNBOOK = FOLDER / "RUNBOOK.md"
"""What to do when a run has failed."""
