"""Reads the MLmodel file that MLflow puts beside a model, without MLflow."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightscore.errors import ModelLoadError
from nightscore.schemas.model import Feature, FeatureType
from nightscore.storage.documents import (
    MAX_BYTES,
    DocumentBoundsError,
    DocumentError,
    read_json,
    read_yaml,
)

_DTYPES = {
    "float64": "double",
    "float32": "float",
    "int64": "long",
    "int32": "integer",
    "bool": "boolean",
}
MAX_REQUIREMENTS_BYTES = 1 << 20
MAX_WIDTH = 100_000
"""Columns of a tensor."""
MAX_TENSORS = 100
MAX_VERSION = 100
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

    def is_loaded_by(self, flavor: str) -> bool:
        """Whether MLflow itself loads the model with this flavor, from one file or folder of data."""
        loader = self.flavors.get("python_function", {}).get("loader_module", "")
        return str(loader) == f"mlflow.{flavor}" and "data" in self.flavors.get(flavor, {})

    def file(self, name: str) -> Path:
        """A file of the model.

        Raises:
            ModelLoadError: It is missing, or its path leads out of the model's folder.
        """
        try:
            path = (self.folder / name).resolve()
            is_there = path.is_relative_to(self.folder.resolve()) and path.exists()
        except (OSError, ValueError):  # no name of a file: too long, or with a NUL in it
            is_there = False
        if not is_there:
            raise ModelLoadError(
                "The MLmodel file names a file that the model does not have.",
                str(self.folder),
                found=repr(name[:200]),
                next_step="log the model again, and register that",
            )
        return path


def read_mlmodel(folder: Path) -> MlModel:
    """The MLmodel file of an artifact tree.

    Raises:
        ModelLoadError: It is missing or malformed.
    """
    try:
        raw = _mapping(read_yaml(_content(folder / "MLmodel", MAX_BYTES)), "")
        stated = _mapping(raw.get("flavors"), "flavors")
        flavors = {
            name: _mapping(flavor or {}, f"flavors.{name}") for name, flavor in stated.items()
        }
        signature = _mapping(raw.get("signature") or {}, "signature")
        inputs, outputs = _columns(signature, "inputs"), _columns(signature, "outputs")
        tensors = [item for item in inputs if item.get("type") == "tensor"]
        is_named = not tensors and all("name" in item for item in inputs)
        columns = [_feature(item) for item in inputs] if is_named else []
        unnamed = (
            [] if is_named or tensors else [_feature(item | {"name": ""}).type for item in inputs]
        )
        dtype, width = (
            _tensor(tensors[0], "signature.inputs") if len(tensors) == 1 else (None, None)
        )
        n_tensors = sum(item.get("type") == "tensor" for item in outputs)
        if n_tensors > MAX_TENSORS:
            raise DocumentError(
                f"signature.outputs: expected at most {MAX_TENSORS} tensors, found {n_tensors:,}"
            )
        return MlModel(
            folder,
            flavors,
            tuple(columns),
            dtype,
            width,
            tuple(kind for item in outputs for kind in _output_types(item)),
            _output_names(outputs),
            _trained_with(folder, raw, flavors),
            tuple(unnamed),
        )
    except DocumentBoundsError as error:
        raise ModelLoadError(
            "The MLmodel file is larger, or stands for more, than any model needs; it was not read.",
            str(folder),
            found=str(error),
            next_step="log the model again, and register that; if it came so, ask who registered it",
        ) from error
    except (OSError, ValueError) as error:
        raise ModelLoadError(
            "The model has no readable MLmodel file.",
            str(folder),
            found=str(error)
            if isinstance(error, DocumentError)
            else f"{type(error).__name__}: {error}",
            next_step="log it with mlflow.<flavor>.log_model and register that",
        ) from error


def _content(path: Path, max_bytes: int) -> bytes:
    """Of a file: one byte more than allowed at most, so that a longer one is noticed."""
    with path.open("rb") as file:
        return file.read(max_bytes + 1)


def _mapping(value: object, place: str) -> dict[str, Any]:
    """A mapping whose keys are texts.

    Raises:
        DocumentError: It is none.
    """
    where = f"{place}: " if place else ""
    if not isinstance(value, dict):
        expected = "a mapping" if place else "a mapping with the key flavors"
        raise DocumentError(f"{where}expected {expected}, found {_shown(value)}")
    odd = [key for key in value if not isinstance(key, str)]
    if odd:
        raise DocumentError(f"{where}expected texts as keys, found {_shown(odd[0])}")
    return value


def _shown(value: object) -> str:
    """What stands where something else was expected."""
    if value is None:
        return "nothing"
    kind = type(value).__name__
    return kind if isinstance(value, dict | list | set) else f"the {kind} {str(value)[:100]!r}"


def _columns(signature: Mapping[str, Any], side: str) -> list[dict[str, Any]]:
    """The columns or tensors of one side of the signature, which MLflow keeps as a text of JSON.

    Raises:
        DocumentError: They are no list of mappings.
    """
    place = f"signature.{side}"
    text = signature.get(side) or "[]"
    if not isinstance(text, str):
        raise DocumentError(f"{place}: expected a text of JSON, found {_shown(text)}")
    try:
        items = read_json(text)
    except DocumentError as error:
        raise type(error)(f"{place}: {error}") from error
    if not isinstance(items, list):
        raise DocumentError(f"{place}: expected a list, found {_shown(items)}")
    return [_mapping(item, f"{place}[{i}]") for i, item in enumerate(items)]


def _feature(item: Mapping[str, Any]) -> Feature:
    kind = str(item.get("type"))
    required = item.get("required", True)
    if not isinstance(required, bool):
        raise DocumentError(
            f"signature.inputs: required: expected true or false, found {_shown(required)}"
        )
    return Feature(name=str(item["name"]), type=kind if kind in TYPES else "any", required=required)


def _tensor(item: Mapping[str, Any], place: str) -> tuple[str, int | None]:
    """The dtype of a tensor, and its columns where it says them."""
    spec = _mapping(item.get("tensor-spec"), f"{place}: tensor-spec")
    dtype, shape = spec.get("dtype"), spec.get("shape") or []
    if not isinstance(dtype, str):
        raise DocumentError(f"{place}: dtype: expected a text, found {_shown(dtype)}")
    if not isinstance(shape, list) or any(type(size) is not int for size in shape):
        raise DocumentError(
            f"{place}: shape: expected a list of whole numbers, found {str(shape)[:100]}"
        )
    width = shape[1] if len(shape) == 2 and shape[1] > 0 else None
    if width is not None and width > MAX_WIDTH:
        raise DocumentError(
            f"{place}: shape: expected at most {MAX_WIDTH:,} columns, found {str(width)[:100]}"
        )
    return dtype, width


def _output_names(outputs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    names = tuple(str(item["name"]) for item in outputs if "name" in item)
    return names if len(names) == len(outputs) else ()


def _output_types(item: Mapping[str, Any]) -> list[str]:
    if item.get("type") == "tensor":
        dtype, width = _tensor(item, "signature.outputs")
        kind = "string" if dtype.startswith(("str", "object")) else "double"
        return [_DTYPES.get(dtype, kind)] * (width or 1)
    return [str(item["type"]) if item.get("type") in TYPES else "any"]


def _trained_with(
    folder: Path, raw: Mapping[str, Any], flavors: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    found = {
        "mlflow": _version(raw, "mlflow_version"),
        "python": _version(flavors.get("python_function", {}), "python_version"),
    }
    for line in _requirements(folder):
        match = re.fullmatch(r"([A-Za-z0-9._-]{1,100})==([^\s;]{1,100})[\s;]?.*", line.strip())
        if match:
            found[match[1].lower().replace("_", "-")] = match[2]
    if version := _version(flavors.get("sklearn", {}), "sklearn_version"):
        found["scikit-learn"] = version
    return {name: version for name, version in sorted(found.items()) if version}


def _version(stated: Mapping[str, Any], key: str) -> str:
    """Of a library; empty where it is not said.

    Raises:
        DocumentError: It is far too long for one.
    """
    version = str(stated.get(key) or "")
    if len(version) > MAX_VERSION:
        raise DocumentError(
            f"{key}: expected at most {MAX_VERSION} characters, found {len(version):,}"
        )
    return version


def _requirements(folder: Path) -> list[str]:
    path = folder / "requirements.txt"
    if not path.is_file():
        return []
    content = _content(path, MAX_REQUIREMENTS_BYTES)
    if len(content) > MAX_REQUIREMENTS_BYTES:
        raise _unread_requirements(folder, f"expected at most {MAX_REQUIREMENTS_BYTES:,} bytes")
    try:
        return content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise _unread_requirements(folder, f"byte {error.start:,}: no UTF-8 text") from None


def _unread_requirements(folder: Path, problem: str) -> ModelLoadError:
    return ModelLoadError(
        "The model's requirements cannot be read.",
        str(folder),
        found=f"requirements.txt: {problem}",
        next_step="log the model again, with its requirements as UTF-8, and register that",
    )
