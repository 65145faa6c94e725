"""What a fitted scikit-learn estimator or pipeline says about itself."""

from typing import Any

import numpy as np

from nightscore.models.libraries.category_columns import category_columns
from nightscore.models.libraries.sklearn_categories import encoder_categories
from nightscore.models.mlmodel import MlModel
from nightscore.models.signature import label_type
from nightscore.models.structure.sklearn_pipelines import split_pipeline
from nightscore.process import installed_version
from nightscore.schemas.model import Feature, ModelFacts

LIBRARIES = ("scikit-learn", "numpy", "scipy", "pandas", "joblib", "skops", "numba")
MATRIX_MODULES = (
    "sklearn.ensemble._forest",
    "sklearn.ensemble._gb",
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting",
    "sklearn.tree._classes",
    "sklearn.linear_model._",
)
"""Estimators that turn a frame into one floating matrix before anything else."""
NUMBER_MODULES = (
    *MATRIX_MODULES,
    "sklearn.preprocessing._data",
    "sklearn.preprocessing._discretization",
    "sklearn.preprocessing._polynomial",
    "sklearn.decomposition._pca",
    "sklearn.discriminant_analysis",
    "sklearn.naive_bayes",
    "sklearn.neural_network._multilayer_perceptron",
    "sklearn.cluster._kmeans",
    "sklearn.ensemble._iforest",
)
"""Estimators and transformers that refuse what does not convert to numbers."""


def inspect_estimator(mlmodel: MlModel, estimator: Any) -> ModelFacts:
    """What a loaded estimator and its signature say."""
    steps, final = split_pipeline(estimator)
    names = _names(estimator, steps)
    features = _features(mlmodel, names)
    classes, types = _classes_and_types(mlmodel, final)
    by_column, refuses_unknown = category_columns(estimator, features)

    name = type(final).__name__

    return ModelFacts(
        flavor="sklearn",
        estimator=f"Pipeline({name})" if steps else name,
        features=features,
        n_features=getattr(estimator, "n_features_in_", None) or mlmodel.tensor_width,
        # If the first step is a transformer of the user's own, only the signature knows of a frame.
        is_named=names is not None or bool(mlmodel.inputs),
        takes_matrix=not steps and takes_matrix(final),
        reads_numbers=_reads_numbers(steps[0] if steps else final),
        matrix_dtype="float32" if mlmodel.tensor_dtype == "float32" else "float64",
        classes=classes,
        categories=encoder_categories(estimator) | by_column,
        category_columns=tuple(by_column),
        refuses_unknown=refuses_unknown,
        outputs=tuple(("prediction", output_type) for output_type in types),
        methods=_methods(final),
        predict_function=_predict_function(mlmodel),
        n_outputs=len(types),
        trained_with=mlmodel.trained_with,
        loaded_with={library: installed_version(library) for library in LIBRARIES},
    )


def takes_matrix(final: Any) -> bool:
    """Whether the estimator makes one floating matrix of a frame anyway."""
    module = type(final).__module__
    return module.startswith(MATRIX_MODULES) and getattr(final, "_preprocessor", None) is None


def _reads_numbers(first: Any) -> bool:
    """Whether the part that is given the columns makes one matrix of numbers of them."""
    has_encoder = getattr(first, "_preprocessor", None) is not None
    return type(first).__module__.startswith(NUMBER_MODULES) and not has_encoder


def _predict_function(mlmodel: MlModel) -> str:
    return str(mlmodel.flavors.get("python_function", {}).get("predict_fn") or "predict")


def _names(estimator: Any, steps: list[Any]) -> list[str] | None:
    """The columns of training, or None if there were no names."""
    for candidate in (estimator, *steps[:1]):
        names = getattr(candidate, "feature_names_in_", None)
        if names is not None:
            return [str(name) for name in names]
    return None


def _features(mlmodel: MlModel, names: list[str] | None) -> tuple[Feature, ...]:
    """The columns of training, with the types that the signature states."""
    if names is None:
        return mlmodel.inputs

    stated = {feature.name: feature for feature in mlmodel.inputs}
    if len(mlmodel.positional) == len(names):
        pairs = zip(names, mlmodel.positional, strict=True)
        stated = {name: Feature(name=name, type=stated_type) for name, stated_type in pairs}
    return tuple(stated.get(name, Feature(name=name)) for name in names)


def _classes_and_types(
    mlmodel: MlModel, final: Any
) -> tuple[tuple[Any, ...] | None, tuple[str, ...]]:
    """The classes of a classifier of one target, and the type of each column of `predict`."""
    labels = getattr(final, "classes_", None)

    if isinstance(labels, list):  # a classifier of several targets
        if type(_best(final)).__name__ == "ClassifierChain":
            return None, ("double",) * len(labels)  # it writes labels into a matrix of floats
        return None, tuple(label_type(list(of_target)) for of_target in labels)

    if labels is not None and _is_multilabel(final):
        return None, ("long",) * len(labels)

    classes = tuple(labels.tolist()) if isinstance(labels, np.ndarray) else None
    n_outputs = _n_outputs(mlmodel, final, classes)

    return classes, (_prediction_type(mlmodel, final, classes),) * n_outputs


def _best(final: Any) -> Any:
    """The estimator that a search has chosen, or the last step of a pipeline within."""
    while True:
        inner = getattr(final, "best_estimator_", None)
        if inner is None:
            return final
        final = split_pipeline(inner)[1]


def _is_multilabel(final: Any) -> bool:
    """Whether a row may have several of the classes, so that each is a column of 0 and 1."""
    final = _best(final)
    binarizer = getattr(final, "_label_binarizer", None)
    is_indicator = str(getattr(binarizer, "y_type_", "")).startswith("multilabel")
    return is_indicator or bool(getattr(final, "multilabel_", False))


def _is_regressor(final: Any) -> bool:
    from sklearn.base import is_regressor

    return bool(is_regressor(final))


def _prediction_type(mlmodel: MlModel, final: Any, classes: tuple[Any, ...] | None) -> str:
    """MLflow's name of the type of `predict`'s answer."""
    if classes:
        return label_type(classes)
    if _is_regressor(final):
        return "double"
    if getattr(final, "labels_", None) is not None or hasattr(final, "offset_"):
        return "long"  # clusterers give labels, outlier detectors 1 and -1

    stated = mlmodel.output_types[0] if mlmodel.output_types else "any"
    return "double" if stated == "any" else stated


def _n_outputs(mlmodel: MlModel, final: Any, classes: tuple[Any, ...] | None) -> int:
    """Columns of the prediction. A network classifier's `n_outputs_` counts its classes instead."""
    if classes:
        return 1

    stated = int(getattr(final, "n_outputs_", 0) or 0)
    best = _best(final)
    if type(best).__name__ in ("MultiOutputRegressor", "RegressorChain"):
        stated = len(best.estimators_)
    return max(stated, _coefficient_rows(final), len(mlmodel.output_types), 1)


def _coefficient_rows(final: Any) -> int:
    """Rows of a matrix of coefficients, which are outputs; 0 without such a matrix."""
    coefficients = getattr(final, "coef_", None)
    if not isinstance(coefficients, np.ndarray) or coefficients.ndim != 2:
        return 0
    return int(coefficients.shape[0])


def _methods(final: Any) -> tuple[str, ...]:
    names = ("predict", "predict_proba", "decision_function")
    methods = [name for name in names if hasattr(final, name)]
    if hasattr(final, "decision_function") or hasattr(final, "_raw_predict"):
        methods.append("raw")
    return tuple(methods)
