"""Does with an input what nightscore does with it, and says what came of it."""

import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nightscore.errors import ScoringError
from nightscore.models.compiled.checked import difference
from nightscore.models.compiled.unsupported import UnsupportedError
from nightscore.models.flavor_catalog import flavor_of
from nightscore.models.mlmodel import read_mlmodel
from nightscore.models.trust import check_trust, loading_steps
from nightscore.schemas.model import ModelFacts
from tests.fuzz.checked_kernels import CheckedKernels
from tests.fuzz.seeds import rows

REFUSED, SAME, LIBRARY, SANE = "refused", "as the library", "the library alone", "sane"
"""What may come of an input."""


class FoundError(Exception):
    """What must not come of one."""


def run_target(target: str, files: Mapping[str, bytes]) -> str:
    """One of the words above.

    Raises:
        FoundError: Anything else.
    """
    with tempfile.TemporaryDirectory(prefix="nightscore-fuzz-") as spool:
        folder = Path(spool, "model")
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        try:
            return RUNS.get(target, _model)(folder)
        except ScoringError as error:
            _check_words(error)
            return REFUSED
        except FoundError:
            raise
        except Exception as error:
            raise FoundError(
                f"{type(error).__name__} at {_place(error)}: {str(error)[:200]}"
            ) from error


def _check_words(error: ScoringError) -> None:
    if len(str(error)) > 1 << 20:
        raise FoundError("an error of more than a megabyte")
    str(error).encode()


def _place(error: BaseException) -> str:
    """The last line of nightscore's own that it came through."""
    place, trace = "?", error.__traceback__
    while trace is not None:
        path = trace.tb_frame.f_code.co_filename
        if "/scoring/" in path or "/schemas/" in path or "/tests/fuzz/" in path:
            place = f"{Path(path).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def load(folder: Path) -> tuple[Any, ModelFacts, Any]:
    """A model as its worker loads it, what it says about itself, and its flavor."""
    from nightscore.models.loading import describe

    mlmodel = read_mlmodel(folder)
    check_trust(mlmodel, "fuzz", is_pinned=False, allow_pickle=False, allow_code=())
    flavor = flavor_of(mlmodel)
    model = flavor.load(mlmodel)
    return model, describe(flavor, mlmodel, model), flavor


def _model(folder: Path) -> str:
    from nightscore.models.loading import compile_model

    model, facts, flavor = load(folder)
    form = None
    if not facts.fallback_reason:
        try:
            form = compile_model(model, facts)
        except UnsupportedError:
            form = None
    table = _table(facts)
    kinds = _kinds(facts)
    own = _attempt(lambda: flavor.predictor(model, facts).predict(table, kinds))
    if own is not None:
        _check_answer(own, table.num_rows)
    if form is None:
        return LIBRARY
    answer = _attempt_form(form, facts, table, kinds)
    if own is None or answer is None:
        return LIBRARY
    for kind, values in answer.items():
        apart = difference(
            np.asarray(own[kind]), np.asarray(values), is_exact=form.tolerance == 0.0
        )
        if apart > form.tolerance:
            raise FoundError(
                f"differs: {kind} of the compiled form is {apart:.1e} from the library's"
            )
    return SAME


def _kinds(facts: ModelFacts) -> tuple[str, ...]:
    names = {"predict_proba": "probability", "decision_function": "decision", "raw": "raw"}
    kinds = [names[method] for method in facts.methods if method in names]
    return ("prediction", *kinds)


def _table(facts: ModelFacts) -> pa.Table:
    """The rows, in the columns that the model wants."""
    given = rows()
    columns = {}
    n = facts.n_columns or given.num_columns
    names = [feature.name for feature in facts.features] or [
        f"column_{i}" for i in range(min(n, 1_000))
    ]
    for i, name in enumerate(names[:1_000]):
        columns[name] = given.column(i % given.num_columns)
    return pa.table(columns)


def _attempt(predict: Callable[[], Any]) -> Any:
    """An answer; None: the library refuses these rows, in whatever words."""
    try:
        return predict()
    except MemoryError:
        raise
    except Exception:
        return None


def _check_answer(answer: Mapping[str, Any], n_rows: int) -> None:
    for kind, values in answer.items():
        if len(values) != n_rows:
            raise FoundError(f"{kind}: {len(values)} answers for {n_rows} rows")


def _attempt_form(form: Any, facts: ModelFacts, table: pa.Table, kinds: tuple[str, ...]) -> Any:
    """The compiled form's answer, by kernels that check each index; None: it leaves the rows to the library."""
    from nightscore.models.compiled.linear import CompiledLinear, LinearForm
    from nightscore.models.compiled.trees import CompiledTrees

    kernels: Any = _kernels()
    try:
        if isinstance(form, LinearForm):
            own: Any = None
            return CompiledLinear(form, own, kernels).attempt(table, kinds)
        return CompiledTrees(form, facts, kernels).attempt(table, kinds)
    except IndexError as error:
        raise FoundError(f"bounds: {error} at {_place(error)}") from error
    except UnsupportedError:
        return None


@functools.cache
def _kernels() -> CheckedKernels:
    return CheckedKernels()


def _form(folder: Path) -> str:
    """A compiled form from disk: read, and used with kernels that check each index; or made again."""
    from nightscore.models.compiled.flat import FlatFileError, read_form

    facts = ModelFacts.model_validate_json((folder / "facts.json").read_text())
    try:
        form = read_form(folder / "form.flat", facts.n_columns)
    except FlatFileError:
        return REFUSED
    try:
        answer = _attempt_form(form, facts, _table(facts), _kinds(facts))
    except (FoundError, MemoryError):
        raise
    except Exception:
        return LIBRARY
    if answer is not None:
        _check_answer(answer, rows().num_rows)
    return SANE


def _mlmodel(folder: Path) -> str:
    from nightscore.inputs.jobfile import load_job

    if (folder / "job.yaml").exists():
        load_job(str(folder / "job.yaml"))
        return SANE
    mlmodel = read_mlmodel(folder)
    flavor_of(mlmodel)
    loading_steps(mlmodel)
    return SANE


def _footer(folder: Path) -> str:
    from nightscore.inputs.footers import read_footers
    from nightscore.storage.store import Store

    store = Store(str(folder))
    files = [store.describe("part-0.parquet")]
    (footer,) = read_footers(store, files)
    if footer.n_rows < 0 or len(footer.schema.names) < 0:
        raise FoundError("negative sizes")
    return SANE


RUNS: Mapping[str, Callable[[Path], str]] = {
    "mlmodel": _mlmodel,
    "forms": _form,
    "footers": _footer,
}
