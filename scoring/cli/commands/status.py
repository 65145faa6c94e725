"""`nightscore status`."""

from pathlib import Path

from nightscore.cli.show import out, print_json
from nightscore.flows.demo.requirements import check_installed


def status(root: Path, as_json: bool) -> None:
    """Print which services are running."""
    check_installed()

    from nightscore.flows.stack.lifecycle import addresses
    from nightscore.flows.stack.settings import Settings
    from nightscore.flows.stack.state import State

    state = State.read(Settings(root=str(root.absolute())).folder)
    if state is None:
        if as_json:
            print_json({"status": "stopped", "services": {}})
        else:
            out.print("Nothing is running.")
        return

    services = {name: state.process(name) is not None for name in state.processes}
    named = state.status if state.is_alive else "stopped"
    places = addresses(state.settings) if state.is_alive else {}

    if as_json:
        error = str(state.error) if state.error else None
        document = {"status": named, "doing": state.message, "services": services}
        print_json(document | {"addresses": places, "error": error})
        return

    for name, is_running in services.items():
        out.print(f"{name:<12}{'running' if is_running else 'not running'}")

    for name, place in places.items():
        out.print(f"{name:<12}{place}")

    out.print(f"{named}: {state.message}" if state.message else named)
    if state.error:
        out.print_lines(str(state.error))
