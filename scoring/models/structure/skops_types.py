"""What a skops file may hold without a pin: the fitted state of scikit-learn's estimators, as data.

skops names every type and function of a file before it builds anything. What is listed here can be
built, and called with a batch of rows, and does nothing but compute. For everything else somebody
must vouch for the file, as for a pickle.
"""

import functools
import importlib
import json
import types
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nightscore.errors import ModelLoadError, ModelRefusedError
from nightscore.models.structure.guards import guard_lightgbm, guard_trees
from nightscore.models.structure.sklearn_estimators import file_readers

MAX_SCHEMA_BYTES = 256 << 20
"""Most bytes of the description of a file's objects. A forest of a thousand trees has 2 MB."""

SAFE_FUNCTIONS = (
    "functools.partial",
    "numpy.mean",
    "scipy._lib.array_api_compat.numpy._aliases.asarray",
    "sklearn.utils.validation.check_array",
)
"""Functions that estimators hold by default, besides public scorers.

They pool features, make arrays of splines, and check input. A partial is as safe as what it calls,
which is listed by itself. A file can have each of them called with any arguments while it is
loaded: none here hands its arguments to machine code unchecked, as the loops of k-means do.
"""
SCORER_MODULES = (
    "sklearn.feature_selection._mutual_info",
    "sklearn.feature_selection._univariate_selection",
    "sklearn.metrics._classification",
    "sklearn.metrics._ranking",
    "sklearn.metrics._regression",
    "sklearn.metrics.cluster",
)
"""Where scikit-learn's public functions are written that turn arrays into scores."""
SAFE_MODULES = (
    "sklearn._loss",
    "sklearn.calibration",
    "sklearn.cluster._bisect_k_means",
    "sklearn.compose._column_transformer",
    "sklearn.gaussian_process",
    "sklearn.linear_model._sgd_fast",
    "sklearn.metrics._dist_metrics",
    "sklearn.metrics._scorer",
    "sklearn.model_selection._split",
    "sklearn.neural_network._stochastic_optimizers",
    "sklearn.utils._bunch",
    "sklearn.utils._metadata_requests",
    "scipy.sparse._bsr",
    "scipy.sparse._coo",
    "scipy.sparse._csc",
    "scipy.sparse._csr",
    "scipy.sparse._dia",
    "scipy.sparse._dok",
    "scipy.sparse._lil",
    "numpy.random",
)
"""Modules of safe classes that are no estimators.

Not all modules are safe: `numpy.memmap` opens files, and SciPy's distributions run text of their
    state as
Python.
"""
SAFE_CLASSES = (
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._ball_tree.BallTree32",
    "sklearn.neighbors._ball_tree.BallTree64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neighbors._kd_tree.KDTree32",
    "sklearn.neighbors._kd_tree.KDTree64",
    "sklearn.tree._tree.Tree",
    "scipy.interpolate._bsplines.BSpline",
    "scipy.interpolate._interpolate.interp1d",
)
"""Safe classes of modules in which others train: a file could have these grow a tree on loading."""
BOOSTER_TYPES = (
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRanker",
    "lightgbm.sklearn.LGBMRegressor",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRanker",
    "xgboost.sklearn.XGBRFClassifier",
    "xgboost.sklearn.XGBRFRegressor",
    "xgboost.sklearn.XGBRegressor",
)
"""Wrappers of boosters, and what they hold.

Restoring a Booster makes its library read a model from text or bytes. Everything else is refused.
"""


SAFE_LIBRARIES = ("sklearn", "numpy", "scipy")
RUNNABLE = {"__main__", "tests", "conftest", "externals"}
"""Parts of the names of modules that are not imported."""


def refused_skops_types(path: Path) -> tuple[list[str], list[str]]:
    """Types and functions of a skops file that are not listed, and all that skops does not trust.

    Raises:
        ModelLoadError: It is not a skops file, or of a later version.
    """
    import skops.io

    try:
        untrusted = skops.io.get_untrusted_types(file=path)
    except MemoryError:
        raise
    except Exception as error:
        raise ModelLoadError(
            "The model is not a readable skops file; nothing was loaded.",
            str(path),
            found=f"{type(error).__name__}: {error}",
            next_step="log it again with the version of skops that is installed here, or install a "
            "later one",
        ) from error

    return [name for name in untrusted if not is_safe(name)], untrusted


def load_skops(path: Path, *, is_vouched: bool) -> Any:
    """The object in a skops file.

    Args:
        path: The file.
        is_vouched: Somebody has pinned the version, or allowed pickles: it may hold anything.

    Raises:
        ModelRefusedError: It holds something that is not on the list, or opens files that its input
            names. Nothing was executed.
        ModelLoadError: It is not a skops file, or of a later version.
    """
    import skops.io

    refused, untrusted = refused_skops_types(path)
    if refused and not is_vouched:
        raise refused_model(refused_with_holders(path, refused), str(path))

    if any(name.startswith("lightgbm.") for name in untrusted):
        guard_lightgbm()

    guard_trees()
    model = skops.io.load(path, trusted=untrusted)

    readers = file_readers(model)
    if readers:
        raise ModelRefusedError(
            "The model opens the files that its input names; nothing was predicted.",
            str(path),
            expected="vectorizers with input='content'",
            problems=[f"{reader}: input='filename'" for reader in readers],
            next_step="log it with input='content', and give it the texts; or log it with "
            "serialization_format='cloudpickle', and pin that",
        )

    return model


def refused_model(problems: Sequence[str], where: str) -> ModelRefusedError:
    """The error for a file that holds more than data, and for which nobody vouches."""
    return ModelRefusedError(
        "The model holds types or functions that are not on the list of what may be loaded; "
        "nothing was executed.",
        where,
        expected="scikit-learn's estimators and what they are made of, its public scorers, NumPy's "
        "ufuncs",
        problems=problems,
        next_step="if you trust its author, run `nightscore pin MODEL_URI`, or set "
        "allow_pickle: true in the job file",
    )


def unlisted_skops_types(path: Path) -> list[str]:
    """Types and functions of a skops file that are not listed, each with its holder."""
    return refused_with_holders(path, refused_skops_types(path)[0])


def refused_with_holders(path: Path, refused: Sequence[str]) -> list[str]:
    """Each refused name with the estimator whose state names it."""
    holders = _holders(path, refused)
    return [f"{holders[name]}: {name}" if name in holders else name for name in refused]


def is_safe(name: str) -> bool:
    """Whether what a name stands for can be built and called, and does nothing but compute."""
    if name in SAFE_FUNCTIONS or name in BOOSTER_TYPES:
        return True

    # Importing a module runs it, so modules that are made to be run are not imported.
    module, _, attribute = name.rpartition(".")
    parts = module.split(".")
    if parts[0] not in SAFE_LIBRARIES or RUNNABLE & {*parts}:
        return False

    try:
        thing = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        return False

    if isinstance(thing, np.ufunc):
        return True
    if isinstance(thing, types.FunctionType):
        return _public_scorers().get(attribute) is thing

    return isinstance(thing, type) and _is_safe_class(thing)


def _is_safe_class(thing: type) -> bool:
    from sklearn.base import BaseEstimator

    if issubclass(thing, np.generic | np.dtype):
        return True
    if issubclass(thing, BaseEstimator) and _is_in(thing, ("sklearn",)):
        return True
    return _is_in(thing, SAFE_MODULES) or f"{thing.__module__}.{thing.__qualname__}" in SAFE_CLASSES


def _is_in(thing: type | types.FunctionType, modules: Sequence[str]) -> bool:
    """Whether it was written there. It may be imported from elsewhere."""
    packages = tuple(f"{module}." for module in modules)
    return thing.__module__ in modules or thing.__module__.startswith(packages)


@functools.cache
def _public_scorers() -> Mapping[str, types.FunctionType]:
    import sklearn.feature_selection
    import sklearn.metrics

    scorers = {}
    for package in (sklearn.metrics, sklearn.feature_selection):
        for name in package.__all__:
            thing = getattr(package, name)
            if isinstance(thing, types.FunctionType) and _is_in(thing, SCORER_MODULES):
                scorers[name] = thing
    return scorers


def _holders(path: Path, names: Sequence[str]) -> dict[str, str]:
    """The class of the nearest object around each name, as far as the file says."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("schema.json") as file:
            schema = json.loads(file.read(MAX_SCHEMA_BYTES))
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile):
        return {}  # it only makes the message better

    holders: dict[str, str] = {}
    waiting: list[tuple[Any, str]] = [(schema, "")]

    while waiting:
        node, holder = waiting.pop()
        if isinstance(node, list):
            waiting += [(child, holder) for child in node]
        elif isinstance(node, dict):
            name = f"{node.get('__module__')}.{node.get('__class__')}"
            if name in names and holder:
                holders.setdefault(name, holder)
            if node.get("__loader__") == "ObjectNode":
                holder = str(node.get("__class__"))
            waiting += [(child, holder) for child in node.values()]

    return holders
