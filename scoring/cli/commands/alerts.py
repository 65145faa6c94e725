"""`nightscore alerts`."""

import asyncio
import os

from nightscore.cli.show import out, print_json
from nightscore.flows.alerts import register


def alerts(as_json: bool) -> None:
    """Register the channels whose address is set, and the automations; print what was done."""
    results = asyncio.run(register(os.environ))

    if as_json:
        print_json(results)
        return

    for name, result in results.items():
        out.print(f"{name:<22} {result}")
