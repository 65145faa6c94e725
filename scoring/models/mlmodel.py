"""Reads the MLmodel file that MLflow puts beside a model, without MLflow."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from schemas.contract import Feature, FeatureType
from scoring.errors import ModelLoadError

_DTYPES = {"float64": "double", "float32": "float", "int64": "long", "int32": "integer", "bool": "boolean"}
LIGHTGBM_BOOSTER = "lightgbm.basic.Booster"
LIGHTGBM_WRAPPERS = tuple(f"lightgbm.sklearn.LGBM{name}" for name in ("Classifier", "Regressor", "Ranker"))
XGBOOST_BOOSTER = "xgboost.core.Booster"
XGBOOST_WRAPPERS = tuple(
    f"xgboost.sklearn.XGB{name}" for name in ("Classifier", "Regressor", "Ranker", "RFClassifier", "RFRegressor")
)
_NATIVE: dict[str, tuple[str, ...]] = {
    "lightgbm": (LIGHTGBM_BOOSTER, *LIGHTGBM_WRAPPERS),
    "xgboost": (XGBOOST_BOOSTER, *XGBOOST_WRAPPERS),
}
"""Flavors and the classes of their models that have a predictor of their own; the first is the one without a word."""
_YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser takes a tenth of the time, where it was built in."""
TYPES = ("double", "float", "long", "integer", "boolean", "string", "binary", "datetime")


@dataclass(frozen=True, slots=True)
class MlModel:
    """What a model version says about itself; nothing of it is executed."""

    folder: Path
    flavors: Mapping[str, Mapping[str, Any]]
    inputs: tuple[Feature, ...]
    """Named columns of the signature; empty where it has none or is a tensor."""
    tensor_dtype: str | None
    """dtype of the input where the signature is a tensor."""
    tensor_width: int | None
    output_types: tuple[str, ...]
    """`any`: the signature states a list or an object, which is no column of predictions."""
    output_names: tuple[str, ...]
    """Of the signature's outputs; empty where one of them has none."""
    trained_with: dict[str, str]
    positional: tuple[FeatureType, ...] = ()
    """Types of the signature's columns where it does not name them: MLflow takes a frame's first ones."""
    is_vouched: bool = False
    """Somebody has pinned the version, or allowed pickles: what its files build may be anything."""

    def file(self, name: str) -> Path:
        """A file of the model.

        Raises:
            ModelLoadError: It is missing, or its path leads out of the model's folder.
        """
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder.resolve()) or not path.exists():
            raise ModelLoadError(
                "The MLmodel file names a file that the model does not have.",
                str(self.folder),
                found=name,
                next_step="log the model again, and register that",
            )
        return path


def read_mlmodel(folder: Path) -> MlModel:
    """The MLmodel file of an artifact tree.

    Raises:
        ModelLoadError: It is missing or malformed.
    """
    try:
        raw = yaml.load((folder / "MLmodel").read_text(), _YAML)  # noqa: S506 (either is the safe loader)
        if not isinstance(raw, dict) or not isinstance(raw.get("flavors"), dict):
            found = "no mapping" if not isinstance(raw, dict) else f"flavors: {str(raw.get('flavors'))[:100]}"
            raise ValueError(f"expected a mapping with the key flavors, found {found}")
        signature = raw.get("signature") or {}
        inputs = json.loads(signature.get("inputs") or "[]")
        outputs = json.loads(signature.get("outputs") or "[]")
        flavors = {str(name): dict(flavor or {}) for name, flavor in raw["flavors"].items()}
        tensors = [item for item in inputs if item.get("type") == "tensor"]
        is_named = not tensors and all("name" in item for item in inputs)
        columns = [_feature(item) for item in inputs] if is_named else []
        unnamed = [] if is_named or tensors else [_feature(item | {"name": ""}).type for item in inputs]
        spec = tensors[0]["tensor-spec"] if len(tensors) == 1 else {}
        shape = spec.get("shape") or []
        return MlModel(
            folder,
            flavors,
            tuple(columns),
            spec.get("dtype"),
            shape[1] if len(shape) == 2 and shape[1] > 0 else None,
            tuple(kind for item in outputs for kind in _output_types(item)),
            _output_names(outputs),
            _trained_with(folder, raw, flavors),
            tuple(unnamed),
        )
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelLoadError(
            "The model has no readable MLmodel file.",
            str(folder),
            found=f"{type(error).__name__}: {error}",
            next_step="log it with mlflow.<flavor>.log_model and register that",
        ) from error


def own_flavor(mlmodel: MlModel) -> str:
    """The flavor that predicts: `sklearn`, `lightgbm`, `xgboost`, `onnx`, else `python_function`.

    What decides whom to trust asks this too: what is loaded is what was looked at.
    """
    if "sklearn" in mlmodel.flavors:
        return "sklearn"
    loader = str(mlmodel.flavors.get("python_function", {}).get("loader_module", ""))
    name = loader.removeprefix("mlflow.")
    if not loader.startswith("mlflow.") or name not in mlmodel.flavors or "data" not in mlmodel.flavors[name]:
        return "python_function"
    if name == "onnx":
        return name
    classes = _NATIVE.get(name, ())
    return name if mlmodel.flavors[name].get("model_class", *classes[:1]) in classes else "python_function"


def _feature(item: Mapping[str, Any]) -> Feature:
    kind = str(item["type"])
    return Feature.model_validate(
        {"name": str(item["name"]), "type": kind if kind in TYPES else "any", "required": item.get("required", True)}
    )


def _output_names(outputs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    names = tuple(str(item["name"]) for item in outputs if "name" in item)
    return names if len(names) == len(outputs) else ()


def _output_types(item: Mapping[str, Any]) -> list[str]:
    if item.get("type") == "tensor":
        spec = item["tensor-spec"]
        shape = spec.get("shape") or []
        width = shape[1] if len(shape) == 2 and shape[1] > 0 else 1
        return [
            _DTYPES.get(spec["dtype"], "string" if str(spec["dtype"]).startswith(("str", "object")) else "double")
        ] * width
    return [str(item["type"]) if item.get("type") in TYPES else "any"]


def _trained_with(folder: Path, raw: Mapping[str, Any], flavors: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    found = {"mlflow": str(raw.get("mlflow_version", ""))}
    python = flavors.get("python_function", {}).get("python_version")
    if python:
        found["python"] = str(python)
    requirements = folder / "requirements.txt"
    for line in requirements.read_text().splitlines() if requirements.is_file() else []:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;]+).*", line.strip())
        if match:
            found[match[1].lower().replace("_", "-")] = match[2]
    if version := flavors.get("sklearn", {}).get("sklearn_version"):
        found["scikit-learn"] = str(version)
    return {name: version for name, version in sorted(found.items()) if version}
