"""What a run finds on its host: versions of libraries, and a cache that others may write to."""

import platform

from nightscore.models import versions
from nightscore.models.compiled.form_cache import CachedForm
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


def version_warnings(facts: ModelFacts) -> list[str]:
    """Libraries that are not those the model was trained with."""
    found = []
    for name in COMPARED_LIBRARIES:
        trained, here = facts.trained_with.get(name), versions.library_version(name)
        if trained and here and trained != here:
            found.append(f"the model was trained with {name} {trained}, this run uses {here}")
    trained = facts.trained_with.get("python")
    if trained and trained.split(".")[:2] != platform.python_version().split(".")[:2]:
        found.append(
            f"the model was trained with Python {trained}, this run uses {platform.python_version()}"
        )
    return found


def cache_warnings(model: PinnedModel, facts: ModelFacts) -> list[str]:
    """What of this host's cache is not used, since others can write to it."""
    kept = CachedForm.for_model(model.cached.path, facts)
    if facts.fallback_reason or not kept.is_shared:
        return []
    folder = kept.stem.parent
    return [
        f"others can write to {folder}: the compiled model there is not used, and each worker makes its own, which "
        f"takes longer; `chmod -R go-w {folder}` as its owner, or remove it"
    ]


def library_versions() -> dict[str, str]:
    """What this process runs with."""
    names = (
        "pyarrow", "numpy", "scikit-learn", "pandas", "numba", "lightgbm", "xgboost", "onnxruntime", "deltalake",
        "joblib", "mlflow", "s3fs",
    )  # fmt: skip
    return {"python": platform.python_version()} | versions.library_versions(*names)
