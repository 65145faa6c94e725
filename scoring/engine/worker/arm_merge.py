"""The rows of a canary as readers see them: each by the model of its arm."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.arrays import from_numpy, from_texts
from nightscore.schemas.contract import Contract

Mask = npt.NDArray[np.bool_]
VERSION = "model_version"


def merge_arm(
    contract: Contract,
    champion: pa.Table,
    champion_mask: Mask,
    challenger: pa.Table,
    challenger_mask: Mask,
) -> pa.Table:
    """The champion's rows, where those of the challenger's arm have its predictions and version.

    A row that only the challenger has refused keeps the champion's. A row that the champion has
    refused stays refused.

    Args:
        contract: Of the champion. The challenger's predictions have the same names and types.
        champion: Its rows as they are written.
        champion_mask: Which rows of the batch these are, shape (n,).
        challenger: Rows of the challenger's arm as they are written.
        challenger_mask: Which rows of the batch these are, shape (n,).
    """
    have_both = champion_mask & challenger_mask
    are_of_arm = have_both[champion_mask]
    if not are_of_arm.any():
        return champion  # a table without rows may have no version to show

    others = challenger.filter(from_numpy(have_both[challenger_mask]))
    places = np.arange(champion.num_rows)
    places[are_of_arm] = champion.num_rows + np.arange(others.num_rows)

    names = [column.name for column in contract.predictions]
    both = pa.concat_tables([champion.select(names), others.select(names)])
    merged = both.combine_chunks().take(from_numpy(places))

    for name in names:
        index = champion.schema.get_field_index(name)
        champion = champion.set_column(index, champion.schema.field(index), merged.column(name))

    index = champion.schema.get_field_index(VERSION)
    versions = [table.column(VERSION)[0].as_py() for table in (champion, others)]
    codes = from_numpy(are_of_arm.astype(np.int32))
    column = pa.DictionaryArray.from_arrays(codes, from_texts(versions))

    field = champion.schema.field(index)
    return champion.set_column(index, field, column.cast(field.type))
