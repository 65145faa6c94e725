"""What a run finds on its host: versions of libraries, and a cache that others may write to."""

import platform
from collections.abc import Iterable

from nightscore.models.compiled.form_cache import CachedForm
from nightscore.models.flavor_catalog import find_flavor
from nightscore.models.installed_libraries import library_version
from nightscore.models.installed_libraries import library_versions as versions_of
from nightscore.models.pinned import PinnedModel
from nightscore.schemas.model import ModelFacts

COMPARED_LIBRARIES = (
    "scikit-learn",
    "numpy",
    "scipy",
    "pandas",
    "lightgbm",
    "xgboost",
    "onnxruntime",
)
"""A model is compared with the versions of these that it was trained with.

Any model may hold parts of these libraries. Those that its flavor declares come on top.
"""
RECORDED_LIBRARIES = (
    "pyarrow",
    "numpy",
    "scikit-learn",
    "pandas",
    "numba",
    "lightgbm",
    "xgboost",
    "onnxruntime",
    "deltalake",
    "joblib",
    "mlflow",
    "s3fs",
)
"""Their versions stand in the manifest, in this order.

Those that the model's flavor declares follow.
"""


def version_warnings(facts: ModelFacts) -> list[str]:
    """A warning for each library whose version is not the one the model was trained with."""
    warnings: list[str] = []
    for name in dict.fromkeys((*COMPARED_LIBRARIES, *_flavor_libraries(facts))):
        trained, current = facts.trained_with.get(name), library_version(name)
        if trained and current and trained != current:
            warnings.append(f"the model was trained with {name} {trained}, this run uses {current}")

    trained, current = facts.trained_with.get("python"), platform.python_version()
    if trained and trained.split(".")[:2] != current.split(".")[:2]:
        warnings.append(f"the model was trained with Python {trained}, this run uses {current}")

    return warnings


def cache_warnings(model: PinnedModel, facts: ModelFacts) -> list[str]:
    """A warning if this host's cache of compiled models is not used.

    It is not used if others can write to it.
    """
    form = CachedForm.for_model(model.cached.path, facts)
    if facts.fallback_reason or not form.is_shared:
        return []

    folder = form.stem.parent
    return [
        f"others can write to {folder}, so the compiled model there is not used: each worker makes "
        f"its own, which takes longer; `chmod -R go-w {folder}` as its owner, or remove it"
    ]


def library_versions(names: Iterable[str] = RECORDED_LIBRARIES) -> dict[str, str]:
    """The versions of Python and the libraries that this process runs with."""
    return {"python": platform.python_version()} | versions_of(*names)


def recorded_versions(facts: ModelFacts) -> dict[str, str]:
    """What the manifest of a run with this model says of Python and the libraries."""
    return library_versions((*RECORDED_LIBRARIES, *_flavor_libraries(facts)))


def _flavor_libraries(facts: ModelFacts) -> tuple[str, ...]:
    flavor = find_flavor(facts.flavor)
    return () if flavor is None else flavor.libraries
