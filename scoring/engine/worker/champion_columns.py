"""The champion's predictions as columns of a challenger's table."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import from_numpy
from nightscore.engine.worker.model_pass import ScoredBatch
from nightscore.engine.worker.row_isolation import Outcome
from nightscore.schemas.contract import Contract, champion_name

NOT_THERE = pa.nulls(1, pa.int64())[0]


def champion_columns(
    contract: Contract, champion: ScoredBatch, outcome: Outcome
) -> dict[str, pa.ChunkedArray]:
    """The champion's predictions of the rows that a challenger has scored, in their order.

    Args:
        contract: The challenger's; it says which columns of the champion are wanted.
        champion: What the champion has made of the batch.
        outcome: What the challenger has made of it.

    Returns:
        Columns by their names in the challenger's table; null where the champion has refused the
        row.
    """
    if not contract.champion or champion.output is None:
        return {}

    names = [column.name for column in contract.champion]
    predictions = champion.output.select(names)
    places = _places(champion.outcome.scored_mask, outcome.scored_mask)
    if places is not None:
        predictions = predictions.take(places)

    return {champion_name(name): predictions.column(name) for name in names}


def _places(
    by_champion: npt.NDArray[np.bool_], by_challenger: npt.NDArray[np.bool_]
) -> pa.Array | None:
    """The place of each row of the challenger among those of the champion, null where it has none.

    None: both have scored the same rows.
    """
    if np.array_equal(by_champion, by_challenger):
        return None

    places = np.cumsum(by_champion) - 1
    is_there = from_numpy(by_champion[by_challenger])
    return pc.if_else(is_there, from_numpy(places[by_challenger]), NOT_THERE)
