"""Every other MLflow flavor, through its python_function interface."""

import importlib.metadata
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from nightscore.errors import ModelLoadError
from nightscore.models.flavor import Flavor
from nightscore.models.loading_steps import LoadingStep, bundled_code, pickle_step
from nightscore.models.mlmodel import TYPES, MlModel
from nightscore.models.protocol import Answer
from nightscore.schemas.model import ModelFacts

if TYPE_CHECKING:  # a partition that is unchanged needs no Arrow
    import pyarrow as pa

MatrixDtype = Literal["float64", "float32", "int64", "int32", "object"]
"""Types of a signature's tensor. MLflow gives the model no other type."""
UNCHECKED_LOADERS = ("mlflow.catboost",)
"""Loaders of MLflow that read data with their own library, which follows it without looking."""
PICKLE_LOADERS = (
    "mlflow.sklearn",
    "mlflow.pyfunc.model",
    "mlflow.lightgbm",
    "mlflow.statsmodels",
    "mlflow.pmdarima",
)
"""Loaders of MLflow that unpickle a file."""


class PyfuncPredictor:
    """Calls `predict` with a pandas frame, or with a matrix if the signature is a tensor."""

    def __init__(self, model: Any, facts: ModelFacts) -> None:
        """Take what `load_pyfunc` gave."""
        self._model, self._facts = model, facts

    def predict(self, features: "pa.Table", kinds: Collection[str]) -> Answer:
        """See `Predictor`. The only kind is `prediction`."""
        from nightscore.models.answers import empty_answer, labelled_columns

        if not features.num_rows:
            return empty_answer(self._facts, kinds)

        from nightscore.models.features import to_frame

        frame = to_frame(features, self._facts)
        x = frame if self._facts.is_named else frame.to_numpy(dtype=self._facts.matrix_dtype)
        prediction = labelled_columns(self._model.predict(x), self._facts.output_names)
        if len(prediction) != features.num_rows:
            raise ValueError(
                f"the model gave {len(prediction)} predictions for {features.num_rows} rows"
            )

        return {"prediction": prediction}


def load_pyfunc(mlmodel: MlModel) -> Any:
    """The model as MLflow's python_function.

    Raises:
        ModelLoadError: It cannot be loaded.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow.pyfunc

    folder = mlmodel.folder
    try:
        return mlflow.pyfunc.load_model(str(folder))
    except Exception as error:
        raise ModelLoadError(
            "The model cannot be loaded.",
            str(folder),
            found=f"{type(error).__name__}: {error}",
            next_step="install the libraries that its requirements.txt names",
        ) from error


def inspect_pyfunc(mlmodel: MlModel, _model: Any) -> ModelFacts:
    """What the signature says.

    Raises:
        ModelLoadError: There is none, or it states columns that a table cannot have.
    """
    _check_signature(mlmodel)
    versions = {name: importlib.metadata.version(name) for name in ("mlflow", "numpy", "pandas")}

    return ModelFacts(
        flavor="python_function",
        estimator=_loader(mlmodel),
        features=mlmodel.inputs,
        n_features=len(mlmodel.positional) or mlmodel.tensor_width,
        positional_types=mlmodel.positional,
        is_named=bool(mlmodel.inputs or mlmodel.positional),
        matrix_dtype=_matrix_dtype(mlmodel),
        outputs=tuple(("prediction", stated) for stated in mlmodel.output_types or ("double",)),
        output_names=mlmodel.output_names,
        methods=("predict",),
        n_outputs=max(1, len(mlmodel.output_types)),
        fallback_reason="there is no compiled form of pyfunc models",
        trained_with=mlmodel.trained_with,
        loaded_with=versions,
    )


def _check_signature(mlmodel: MlModel) -> None:
    where = str(mlmodel.folder)

    if not mlmodel.inputs and not mlmodel.positional and mlmodel.tensor_dtype is None:
        raise ModelLoadError(
            "The model version has no signature.",
            where,
            next_step="log it with signature=mlflow.models.infer_signature(X, predictions)",
        )

    if "any" in mlmodel.positional:
        raise ModelLoadError(
            "The model takes lists or objects, which are no columns of a table.",
            where,
            expected=f"inputs with names, of the types {', '.join(TYPES)}",
            next_step="log it with a predict that takes a pandas frame, and "
            "signature=mlflow.models.infer_signature(X, predictions)",
        )

    if "any" in mlmodel.output_types:
        raise ModelLoadError(
            "The model answers with lists or objects, which are no columns of predictions.",
            where,
            expected=f"outputs of the types {', '.join(TYPES)}",
            next_step="log it with a model that answers with one column for each number, and its "
            "signature",
        )


def _loader(mlmodel: MlModel) -> str:
    return str(mlmodel.flavors.get("python_function", {}).get("loader_module", ""))


def _matrix_dtype(mlmodel: MlModel) -> MatrixDtype:
    stated = (dtype for dtype in get_args(MatrixDtype) if dtype == mlmodel.tensor_dtype)
    return next(stated, "float64")


def pyfunc_steps(mlmodel: MlModel) -> Iterator[LoadingStep]:
    """Everything that loading a python_function model would run."""
    flavor = mlmodel.flavors.get("python_function", {})
    loader = _loader(mlmodel)

    yield from bundled_code(mlmodel, flavor)

    if source := flavor.get("model_code_path"):
        name = Path(str(source)).name  # MLflow looks for the name alone, in the model
        yield LoadingStep("code", f"runs {name}, Python that the model brings", (Path(name).stem,))
    elif loader in UNCHECKED_LOADERS:
        library = loader.removeprefix("mlflow.")
        yield LoadingStep(
            "pickle", f"reads {flavor.get('data')} with {library}, which follows it without looking"
        )
    elif loader in PICKLE_LOADERS:
        names = (flavor.get(key) for key in ("python_model", "model_path"))
        name = next((str(name) for name in names if name), str(flavor.get("data")))
        yield pickle_step(mlmodel, name)
    else:
        yield LoadingStep("code", f"runs the loader {loader or '(none named)'}", (loader,))


FLAVOR = Flavor(
    name="python_function",
    claims=lambda mlmodel: True,
    precedence=-1,  # every other flavor knows its models better
    loading_steps=pyfunc_steps,
    load=load_pyfunc,
    inspect=inspect_pyfunc,
    predictor=PyfuncPredictor,
    takes_frames=True,
    enforces_signature=True,
    runs_own_code=True,
)
