"""scikit-learn estimators and pipelines, loaded and called without MLflow."""

import warnings
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from nightscore.models.flavor import Flavor
from nightscore.models.loading_steps import LoadingStep, bundled_code, pickle_step
from nightscore.models.mlmodel import MlModel
from nightscore.models.protocol import Answer
from nightscore.models.structure.sklearn_pipelines import split_pipeline
from nightscore.schemas.model import ModelFacts

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from nightscore.models.compiled.flat import CompiledForm

TIE_MARGIN = 1e-9
"""Closer probabilities may be ordered differently from the raw scores that the library compares."""

ARGMAX_ESTIMATORS = (
    "RandomForestClassifier",
    "ExtraTreesClassifier",
    "DecisionTreeClassifier",
    "ExtraTreeClassifier",
    "HistGradientBoostingClassifier",
    "GradientBoostingClassifier",
)
"""Their `predict` is the class of the greatest probability: one pass gives both.

(Boosting compares raw scores, of which the probability is a monotone function.)
"""

GIL_FREE_ESTIMATORS = (
    "RandomForestClassifier",
    "RandomForestRegressor",
    "ExtraTreesClassifier",
    "ExtraTreesRegressor",
    "HistGradientBoostingClassifier",
    "HistGradientBoostingRegressor",
)
"""They predict without holding Python's lock."""


class SklearnPredictor:
    """Calls the estimator's own methods."""

    def __init__(self, estimator: Any, facts: ModelFacts) -> None:
        """Take what `load_estimator` gave."""
        # Whoever only asks what loading would run needs no columns.
        from nightscore.models.features import FeatureBuilder

        self._facts = facts
        self._builder = FeatureBuilder(facts)
        self._steps, self._final = split_pipeline(estimator)
        self._classes = None if facts.n_outputs > 1 else getattr(self._final, "classes_", None)

    def predict(self, features: "pa.Table", kinds: Collection[str]) -> Answer:
        """See `Predictor`. A pipeline transforms once for all kinds."""
        from nightscore.models.answers import column_array, empty_answer

        if not features.num_rows:
            return empty_answer(self._facts, kinds)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x = self._builder.build(features)

            for step in self._steps:
                x = step.transform(x)

            answer: dict[str, npt.NDArray[Any]] = {}
            if "probability" in kinds:
                answer["probability"] = column_array(self._final.predict_proba(x))

            if "decision" in kinds:
                answer["decision"] = column_array(self._final.decision_function(x))

            if "raw" in kinds:
                answer["raw"] = column_array(_raw(self._final, x))

            answer["prediction"] = column_array(self._predict(x, answer.get("probability")))
            return answer

    def _predict(self, x: Any, probability: "npt.NDArray[Any] | None") -> "npt.NDArray[Any]":
        """The prediction: from the probabilities if that is exact, else by the estimator."""
        import numpy as np

        from nightscore.models.answers import check_order

        classes = self._classes
        if classes is None or probability is None or not self._is_argmax(probability):
            prediction = self._final.predict(x)
            check_order(prediction)
            is_sparse = hasattr(prediction, "toarray")
            return np.asarray(prediction.toarray() if is_sparse else prediction)

        labels = classes.take(probability.argmax(axis=1), axis=0)
        top_two = np.partition(probability, -2, axis=1)[:, -2:]
        tied = np.flatnonzero(top_two[:, 1] - top_two[:, 0] < TIE_MARGIN)

        if len(tied):
            labels[tied] = self._final.predict(x.iloc[tied] if hasattr(x, "iloc") else x[tied])

        return np.asarray(labels)

    def _is_argmax(self, probability: "npt.NDArray[Any]") -> bool:
        estimator = type(self._final)
        is_listed = estimator.__name__ in ARGMAX_ESTIMATORS
        return (
            is_listed and estimator.__module__.startswith("sklearn.") and probability.shape[1] > 1
        )


def _raw(final: Any, x: Any) -> Any:
    """The score before the link. For gradient boosting with a link, its method is private."""
    if hasattr(final, "decision_function"):
        return final.decision_function(x)
    if type(final).__name__ == "GradientBoostingRegressor":
        return final.predict(x)  # its link is the identity, and `_raw_predict` checks nothing
    return final._raw_predict(x)


def load_estimator(mlmodel: MlModel) -> Any:
    """The estimator of verified artifacts.

    Raises:
        ModelLoadError: It cannot be read.
        ModelStructureError: Its parts point outside of their arrays, or in circles.
        ModelRefusedError: A skops file holds types that are not on the list.
    """
    from nightscore.models.libraries.pickles import load_pickled

    return load_pickled(mlmodel, "sklearn", "pickled_model")


def inspect_estimator(mlmodel: MlModel, estimator: Any) -> ModelFacts:
    """What a loaded estimator and its signature say."""
    from nightscore.models.libraries import sklearn_facts

    return sklearn_facts.inspect_estimator(mlmodel, estimator)


def sklearn_steps(mlmodel: MlModel) -> Iterator[LoadingStep]:
    """Everything that loading a scikit-learn model would run."""
    flavor = mlmodel.flavors["sklearn"]
    name = str(flavor.get("pickled_model", "model.pkl"))

    yield from bundled_code(mlmodel, flavor)

    if flavor.get("serialization_format") == "skops":
        yield LoadingStep(
            "types", f"reads {name}, objects of types of scikit-learn, numpy and scipy only"
        )
    else:
        yield pickle_step(mlmodel, name)


def unlisted_sklearn_types(mlmodel: MlModel) -> list[str]:
    """See `Flavor.unlisted_types`."""
    from nightscore.models.structure.skops_types import unlisted_skops_types

    flavor = mlmodel.flavors["sklearn"]
    if flavor.get("serialization_format") != "skops":
        return []
    return unlisted_skops_types(mlmodel.file(str(flavor.get("pickled_model"))))


def compile_estimator(estimator: Any, facts: ModelFacts) -> "CompiledForm":
    """The compiled form of a fitted estimator or pipeline; see `Flavor.compile`."""
    from nightscore.models.compiled.pipelines import sklearn_form

    return sklearn_form(estimator, facts)


FLAVOR = Flavor(
    name="sklearn",
    claims=lambda mlmodel: True,
    precedence=1,  # its own loader is faster than that of any flavor beside it
    loading_steps=sklearn_steps,
    load=load_estimator,
    inspect=inspect_estimator,
    predictor=SklearnPredictor,
    compile=compile_estimator,
    unlisted_types=unlisted_sklearn_types,
    libraries=("scikit-learn",),
    pads_batches=True,
    releases_gil=lambda facts: facts.estimator in GIL_FREE_ESTIMATORS,
    takes_frames=True,
)
