"""LightGBM's boosters and scikit-learn wrappers, loaded and called without MLflow and pandas."""

import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.errors import ModelLoadError, ModelStructureError
from nightscore.models.answers import column_array, empty_answer
from nightscore.models.categories import CodedMatrix
from nightscore.models.flavor import Flavor
from nightscore.models.installed_libraries import import_library, library_versions
from nightscore.models.loading_steps import LoadingStep, bundled_code, pickle_step
from nightscore.models.mlmodel import MlModel
from nightscore.models.protocol import Answer
from nightscore.models.signature import LOG_AGAIN, check_names, label_type, with_categories
from nightscore.schemas.model import Feature, ModelFacts

if TYPE_CHECKING:
    from nightscore.models.compiled.flat import CompiledForm
    from nightscore.models.structure.lightgbm_file import LightgbmFile

LIGHTGBM_BOOSTER = "lightgbm.basic.Booster"
"""Class of a model whose MLmodel file names none."""
LIGHTGBM_WRAPPERS = tuple(
    f"lightgbm.sklearn.LGBM{name}" for name in ("Classifier", "Regressor", "Ranker")
)
LIBRARIES = ("lightgbm", "numpy", "scipy", "numba")


class LightgbmPredictor:
    """Calls the model's own methods with one matrix, categories as the codes of training.

    LightGBM takes float64, copies each row, and is as fast with columns as with rows. A value that
    is none of the categories is missing, as it is if pandas sets the categories of training.
    """

    def __init__(self, model: Any, facts: ModelFacts) -> None:
        """Take what `load_lightgbm` gave."""
        self._model, self._facts = model, facts
        self._matrix = CodedMatrix(facts, np.float64, refuses_unknown=False)
        is_booster = facts.classes is None and not hasattr(model, "booster_")
        self._options: dict[str, Any] = {"num_threads": 1} if is_booster else {}

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """See `Predictor`. A booster predicts the objective of its raw score, as in MLflow."""
        if not features.num_rows:
            return empty_answer(self._facts, kinds)

        x = self._matrix.build(features)
        answer: dict[str, npt.NDArray[Any]] = {}

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")

            if {"raw", "decision"} & {*kinds}:
                raw = column_array(self._model.predict(x, raw_score=True, **self._options))
                answer |= {kind: raw for kind in ("raw", "decision") if kind in kinds}

            if self._facts.classes is None:
                answer["prediction"] = column_array(self._model.predict(x, **self._options))
                return answer

            # The wrapper's `predict` would compute the probabilities again.
            probability = column_array(self._model.predict_proba(x))

            if "probability" in kinds:
                answer["probability"] = probability

            labels = np.asarray(self._model.classes_)[probability.argmax(axis=1)]
            answer["prediction"] = column_array(labels)

            return answer


def load_lightgbm(mlmodel: MlModel) -> Any:
    """The booster, or a wrapper for scikit-learn, of verified artifacts.

    Raises:
        ModelLoadError: It cannot be read, or LightGBM is not installed.
        ModelStructureError: Its trees point outside, or in circles; LightGBM did not get them.
        ModelRefusedError: A skops file holds types that are not on the list.
    """
    lightgbm = import_library("lightgbm", "LightGBM", "lightgbm", mlmodel.folder)
    flavor = mlmodel.flavors["lightgbm"]
    path = mlmodel.file(str(flavor.get("data")))

    if not _is_wrapper(flavor):
        return _load_booster(lightgbm, path)

    from nightscore.models.libraries.pickles import load_pickled

    model = load_pickled(mlmodel, "lightgbm", "data")
    model.n_jobs = 1  # None means all cores, and the pool has one worker for each

    return model


def _load_booster(lightgbm: Any, path: Path) -> Any:
    from nightscore.models.structure.lightgbm_trees import check_lightgbm

    try:
        text = path.read_text(encoding="utf-8")
        check_lightgbm(text, str(path))
        booster = lightgbm.Booster(model_str=text)
        # Check once more what LightGBM has understood, in case it reads a file differently.
        check_lightgbm(booster.model_to_string(num_iteration=-1), str(path))

        return booster
    except ModelStructureError:
        raise
    except Exception as error:
        raise ModelLoadError(
            "The model cannot be loaded.",
            str(path),
            expected="a model file of LightGBM",
            found=f"{type(error).__name__}: {error}",
            next_step="log it again with the version of LightGBM that is installed here",
        ) from error


def inspect_lightgbm(mlmodel: MlModel, model: Any) -> ModelFacts:
    """What the model file and the signature say.

    Raises:
        ModelLoadError: They do not fit each other.
    """
    from nightscore.models.structure.lightgbm_file import model_text, read_lightgbm

    file = read_lightgbm(model_text(model))
    features, categories = _features(mlmodel, file)

    classes = None
    output_type, n_outputs = "double", file.n_outputs
    methods: tuple[str, ...] = ("predict", "raw")

    # With an objective of the user's own, a classifier gives raw scores only.
    if hasattr(model, "classes_") and not callable(model.objective_):
        classes = tuple(np.asarray(model.classes_).tolist())

    if classes:
        output_type, n_outputs = label_type(classes), 1
        methods = ("predict", "predict_proba", "decision_function", "raw")

    return ModelFacts(
        flavor="lightgbm",
        estimator=type(model).__name__,
        features=features,
        n_features=file.n_features,
        is_named=bool(features),
        classes=classes,
        categories=categories,
        outputs=(("prediction", output_type),) * n_outputs,
        methods=methods,
        n_outputs=n_outputs,
        trained_with=mlmodel.trained_with,
        loaded_with=library_versions(*LIBRARIES),
    )


def _features(
    mlmodel: MlModel, file: "LightgbmFile"
) -> tuple[tuple[Feature, ...], dict[str, tuple[Any, ...]]]:
    """The model's features, and the categories of training by feature name."""
    from nightscore.models.structure.lightgbm_file import categorical_places

    names = file.feature_names
    if names == tuple(f"Column_{i}" for i in range(file.n_features)):
        names = ()  # LightGBM's own names for a matrix without any

    inputs = mlmodel.inputs
    stated = [feature.name.replace(" ", "_") for feature in inputs]
    check_names(mlmodel, stated, names, file.n_features)

    features = inputs or tuple(Feature(name=name, type="double") for name in names)

    if not file.pandas_categorical:
        return features, {}

    places = categorical_places(file, inputs)
    if places is None:
        raise _unplaced(mlmodel, file)

    by_place = dict(zip(places, file.pandas_categorical, strict=True))
    return with_categories(mlmodel, features, by_place)


def _unplaced(mlmodel: MlModel, file: "LightgbmFile") -> ModelLoadError:
    """The error for categories of training whose columns the file does not name."""
    from nightscore.models.structure.lightgbm_file import text_places

    n_categorical, n_texts = len(file.categorical_features), len(text_places(mlmodel.inputs))
    return ModelLoadError(
        "The model does not say which of its columns the categories of training belong to.",
        str(mlmodel.folder),
        expected=f"{len(file.pandas_categorical)} columns of strings in the signature, or as many "
        "categorical features",
        found=f"{n_categorical} categorical features, {n_texts} columns of strings",
        next_step=LOG_AGAIN,
    )


def claims_lightgbm(mlmodel: MlModel) -> bool:
    """Whether the model is one file, of a class that has a predictor here."""
    if not mlmodel.is_loaded_by("lightgbm"):
        return False
    name = mlmodel.flavors["lightgbm"].get("model_class", LIGHTGBM_BOOSTER)
    return name in (LIGHTGBM_BOOSTER, *LIGHTGBM_WRAPPERS)


def lightgbm_steps(mlmodel: MlModel) -> Iterator[LoadingStep]:
    """Everything that loading would run: a booster is text, a wrapper is pickled."""
    flavor = mlmodel.flavors["lightgbm"]
    data = str(flavor.get("data"))

    yield from bundled_code(mlmodel, flavor)

    if not _is_wrapper(flavor):
        yield LoadingStep("data", f"reads {data} with lightgbm")
    elif flavor.get("serialization_format") == "skops":
        yield LoadingStep(
            "types", f"reads {data}, objects of types of scikit-learn, LightGBM and numpy only"
        )
    else:
        yield pickle_step(mlmodel, data)


def unlisted_lightgbm_types(mlmodel: MlModel) -> list[str]:
    """See `Flavor.unlisted_types`."""
    from nightscore.models.structure.skops_types import unlisted_skops_types

    flavor = mlmodel.flavors["lightgbm"]
    if not _is_wrapper(flavor) or flavor.get("serialization_format") != "skops":
        return []
    return unlisted_skops_types(mlmodel.file(str(flavor.get("data"))))


def compile_lightgbm(model: Any, facts: ModelFacts) -> "CompiledForm":
    """The compiled form of a loaded model; see `Flavor.compile`."""
    from nightscore.models.compiled.boosters import lightgbm_form

    return lightgbm_form(model, facts)


def _is_wrapper(flavor: Mapping[str, Any]) -> bool:
    return bool(flavor.get("model_class", LIGHTGBM_BOOSTER) != LIGHTGBM_BOOSTER)


FLAVOR = Flavor(
    name="lightgbm",
    claims=claims_lightgbm,
    loading_steps=lightgbm_steps,
    load=load_lightgbm,
    inspect=inspect_lightgbm,
    predictor=LightgbmPredictor,
    compile=compile_lightgbm,
    unlisted_types=unlisted_lightgbm_types,
    libraries=("lightgbm",),
    releases_gil=lambda facts: True,
)
