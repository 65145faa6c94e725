"""The columns of a challenger's table: its own predictions, and beside them the champion's."""

from dataclasses import replace

from nightscore.errors import ContractError
from nightscore.schemas.contract import Contract, OutputColumn, champion_name


def beside_champion(contract: Contract, champion: tuple[OutputColumn, ...]) -> Contract:
    """The columns of a challenger's run.

    Args:
        contract: As of a run by itself.
        champion: The prediction columns of the job's own model.

    Raises:
        ContractError: Another column has the name of one that would be added.
    """
    taken = {name.lower() for name in contract.output_schema().names}
    added = [champion_name(column.name) for column in champion]
    clashes = [name for name in added if name.lower() in taken]

    if clashes:
        raise ContractError(
            "The challenger's table would have two columns of one name; no row was read.",
            expected=f"no key and no column of pass_through that is called {', '.join(clashes)}: "
            "these are the predictions of the job's own model",
            next_step="rename the column in the input, or leave it out of pass_through",
        )

    return replace(contract, champion=champion)
