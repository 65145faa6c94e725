"""Where the rows of a shard stand in the input."""

import numpy as np
import numpy.typing as npt

from nightscore.engine.shard import ShardTask
from nightscore.outputs.quarantine import read_origin_here
from nightscore.storage.store import Store


class RowOrigins:
    """Input file and position of each row.

    Rows stand where they are read, but for a replay: its rows come from a quarantine, whose columns
    say where they stood.
    """

    def __init__(self, task: ShardTask, store: Store) -> None:
        """Read the quarantine's columns, if the task is a replay's."""
        paths = {piece.file.path for piece in task.shard.pieces} if task.from_quarantine else set()
        self._by_path = {path: read_origin_here(store, path) for path in paths}

    def locate(
        self, path: str, positions: npt.NDArray[np.int64]
    ) -> tuple[str, npt.NDArray[np.int64]]:
        """Input file and positions there, for rows of one file that is read."""
        if path not in self._by_path:
            return path, positions
        source_file, source_rows = self._by_path[path]
        return source_file, source_rows[positions]
