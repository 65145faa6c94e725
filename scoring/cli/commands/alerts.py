"""`nightscore alerts`."""

import os

from nightscore.cli.changes import change_document, print_changes
from nightscore.cli.show import print_json
from nightscore.flows.alerts import register


def alerts(as_json: bool) -> None:
    """Register the channels whose address is set, and the automations; print what was done."""
    changes = register(os.environ)

    if as_json:
        print_json([change_document(change) for change in changes])
    else:
        print_changes(changes, dry_run=False)
