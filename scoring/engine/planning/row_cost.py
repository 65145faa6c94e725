"""What a model takes for a row on this host: slow models get smaller shards, for all workers.

A compiled predictor was timed when it was compared with the library. The library is timed once for
each model, with the first rows of a partition, and the time is kept beside the cached models.
"""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nightscore.engine.planning.caller import Caller
from nightscore.engine.planning.predictor_choice import PredictorChoice
from nightscore.engine.worker.row_cost import MORE_ROWS, FirstRows, measure_row_s
from nightscore.errors import MemoryLimitError, WorkerError
from nightscore.inputs.footers import Footer
from nightscore.models.compiled.form_cache import CachedForm
from nightscore.models.pinned import model_seconds
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model import ModelFacts
from nightscore.schemas.partition import Piece, Shard

FOLDER = "row-costs"
"""Beside the cached models. The costs there decide nothing but how rows are shared."""
MEASURED_ROWS = (4_096, 4_194_304)
"""Rows of a partition for which a model is timed. Fewer would not be shared but by the slowest
models; of more, every model's shards are as many as workers want."""
COLUMN_S = 1e-4
"""Seconds that a compiled predictor takes for a column of a batch, however few its rows are."""


@dataclass(frozen=True, slots=True)
class ModelAtWork:
    """A model, and the columns that it gets in a run."""

    job: ScoringJob
    folder: Path
    """Its artifacts. The folder's name is their digest."""
    facts: ModelFacts
    contract: Contract
    predictor: PredictorChoice


@dataclass(frozen=True, slots=True)
class RowNote:
    """The note of what a model takes for a row. It may not exist."""

    path: Path

    @classmethod
    def for_model(cls, folder: Path, facts: ModelFacts) -> "RowNote":
        """The note of a cached model.

        Args:
            folder: The model's artifacts. Its name is their digest.
            facts: What the model is, and with which library versions it was loaded.
        """
        loaded_with = json.dumps(sorted(facts.loaded_with.items()))
        key = hashlib.sha256(loaded_with.encode()).hexdigest()[:16]
        return cls(folder.parent / FOLDER / f"{folder.name}-{key}.json")

    def read(self) -> float | None:
        """Seconds a row; None: nobody has measured them."""
        try:
            row_s = json.loads(self.path.read_text())["row_s"]
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return float(row_s) if isinstance(row_s, (int, float)) else None

    def write(self, row_s: float) -> None:
        """Keep what was measured. It is measured again where that cannot be written."""
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.write_text(json.dumps({"row_s": row_s}))


def find_row_s(
    model: ModelAtWork, footers: Sequence[Footer], caller: Caller | None
) -> float | None:
    """Seconds that the predictor takes for a row; None: not known.

    Args:
        model: The model.
        footers: Of the partition's files.
        caller: Has a worker measure the time, if it is not known and matters; None: nobody does.
    """
    if not model.predictor.fallback_reason:
        return _compiled_row_s(model)

    note = RowNote.for_model(model.folder, model.facts)
    row_s = note.read()
    n_rows = sum(footer.n_rows for footer in footers)

    if row_s is not None or caller is None or model.job.workers.is_cluster:
        return row_s
    if not MEASURED_ROWS[0] <= n_rows <= MEASURED_ROWS[1]:
        return None

    first_rows = FirstRows(
        place=model.job.input,
        shard=_first_shard(footers),
        contract=model.contract,
        facts=model.facts,
        model_folder=model.folder,
        fallback_reason=model.predictor.fallback_reason,
    )
    try:
        row_s = caller.call(measure_row_s, first_rows, timeout_s=model_seconds(model.job))
    except (WorkerError, MemoryLimitError):
        return None  # the shard of these rows will tell more

    if row_s is not None:
        note.write(row_s)

    return row_s


def _compiled_row_s(model: ModelAtWork) -> float | None:
    checked = CachedForm.for_model(model.folder, model.facts).checked
    if checked is None or not checked.checked_rows:
        return None

    call_s = COLUMN_S * len(model.contract.features)
    return max(0.0, checked.compiled_s - call_s) / checked.checked_rows


def _first_shard(footers: Sequence[Footer]) -> Shard:
    """The first rows of a partition that has some."""
    for footer in footers:
        for group, n_rows in enumerate(footer.row_groups.rows):
            if n_rows:
                n_rows = min(n_rows, MORE_ROWS)
                return Shard(0, (Piece(footer.file, (group,), 0, n_rows),), n_rows, 0)

    raise ValueError("no file has rows")
