"""`nightscore down`."""

from pathlib import Path

from nightscore.cli.show import out, print_json
from nightscore.flows.demo.requirements import check_installed


def down(root: Path, as_json: bool) -> None:
    """Stop the stack."""
    check_installed()

    from nightscore.flows.stack import lifecycle
    from nightscore.flows.stack.settings import Settings

    was_up = lifecycle.down(Settings(root=str(root.absolute())))

    if as_json:
        print_json({"status": "stopped" if was_up else "nothing was running"})
    elif was_up:
        out.print("Everything is stopped. Data and logs are kept.")
    else:
        out.print("Nothing is running.")
