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
"""MLflow's names of types by NumPy's."""
TYPES = ("double", "float", "long", "integer", "boolean", "string", "binary", "datetime")
MAX_REQUIREMENTS_BYTES = 1 << 20
MAX_WIDTH = 100_000
"""Most columns of a tensor."""
MAX_TENSORS = 100
MAX_VERSION = 100
"""Most characters of a library's version."""
SHOWN_CHARACTERS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class MlModel:
    """What a model version says about itself. Nothing of it is executed."""

    folder: Path
    flavors: Mapping[str, Mapping[str, Any]]
    inputs: tuple[Feature, ...] = ()
    """Named columns of the signature; empty if it has none or is a tensor."""
    positional: tuple[FeatureType, ...] = ()
    """Types of unnamed columns of the signature: MLflow takes a frame's first ones."""
    tensor_dtype: str | None = None
    """dtype of the input if the signature is a tensor."""
    tensor_width: int | None = None
    output_types: tuple[str, ...] = ()
    """`any`: the signature states a list or an object, which is no column of predictions."""
    output_names: tuple[str, ...] = ()
    """Names of the signature's outputs; empty if one of them has none."""
    trained_with: dict[str, str]
    """Versions of libraries."""
    is_vouched: bool = False
    """Somebody has pinned the version, or allowed pickles: its files may build anything."""

    def is_loaded_by(self, flavor: str) -> bool:
        """Whether MLflow itself loads the model with this flavor, from one file or folder."""
        loader = self.flavors.get("python_function", {}).get("loader_module", "")
        return str(loader) == f"mlflow.{flavor}" and "data" in self.flavors.get(flavor, {})

    def file(self, name: str) -> Path:
        """A file of the model.

        Raises:
            ModelLoadError: It is missing, or its path leads out of the model's folder.
        """
        try:
            path = (self.folder / name).resolve()
            is_inside = path.is_relative_to(self.folder.resolve())
            is_present = is_inside and path.exists()
        except (OSError, ValueError):  # not a file name: too long, or with a NUL in it
            is_present = False

        if not is_present:
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
        return _parse(folder, _content(folder / "MLmodel", MAX_BYTES))
    except DocumentBoundsError as error:
        raise ModelLoadError(
            "The MLmodel file is larger, or expands to more, than any model needs; it was not "
            "read.",
            str(folder),
            found=str(error),
            next_step="log the model again, and register that; if you received it so, ask who "
            "registered it",
        ) from error
    except (OSError, ValueError) as error:
        is_ours = isinstance(error, DocumentError)
        raise ModelLoadError(
            "The model has no readable MLmodel file.",
            str(folder),
            found=str(error) if is_ours else f"{type(error).__name__}: {error}",
            next_step="log it with mlflow.<flavor>.log_model and register that",
        ) from error


def _parse(folder: Path, content: bytes) -> MlModel:
    raw = _mapping(read_yaml(content), "")
    flavors = {}
    for name, flavor in _mapping(raw.get("flavors"), "flavors").items():
        flavors[name] = _mapping(flavor or {}, f"flavors.{name}")

    signature = _mapping(raw.get("signature") or {}, "signature")
    inputs, outputs = _columns(signature, "inputs"), _columns(signature, "outputs")
    named, positional = _features(inputs)
    tensor_dtype, tensor_width = _input_tensor(inputs)
    _check_tensors(outputs)

    return MlModel(
        folder=folder,
        flavors=flavors,
        inputs=named,
        positional=positional,
        tensor_dtype=tensor_dtype,
        tensor_width=tensor_width,
        output_types=tuple(stated for item in outputs for stated in _output_types(item)),
        output_names=_output_names(outputs),
        trained_with=_trained_with(folder, raw, flavors),
    )


def _content(path: Path, max_bytes: int) -> bytes:
    """The content of a file, and one byte more than allowed at most, so that a longer one shows."""
    with path.open("rb") as file:
        return file.read(max_bytes + 1)


def _mapping(value: object, place: str) -> dict[str, Any]:
    """A mapping whose keys are strings.

    Raises:
        DocumentError: The value is something else.
    """
    where = f"{place}: " if place else ""

    if not isinstance(value, dict):
        expected = "a mapping" if place else "a mapping with the key flavors"
        raise DocumentError(f"{where}expected {expected}, found {_shown(value)}")

    other_keys = [key for key in value if not isinstance(key, str)]
    if other_keys:
        raise DocumentError(f"{where}expected texts as keys, found {_shown(other_keys[0])}")

    return value


def _shown(value: object) -> str:
    """A value where something else was expected."""
    if value is None:
        return "nothing"
    name = type(value).__name__
    if isinstance(value, dict | list | set):
        return name
    return f"the {name} {str(value)[:SHOWN_CHARACTERS]!r}"


def _columns(signature: Mapping[str, Any], side: str) -> list[dict[str, Any]]:
    """The columns or tensors of one side of the signature, which MLflow stores as JSON text.

    Raises:
        DocumentError: They are not a list of mappings.
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


def _features(
    inputs: Sequence[Mapping[str, Any]],
) -> tuple[tuple[Feature, ...], tuple[FeatureType, ...]]:
    """The named columns of the signature, or the types of its unnamed ones."""
    if any(item.get("type") == "tensor" for item in inputs):
        return (), ()
    if all("name" in item for item in inputs):
        return tuple(_feature(item) for item in inputs), ()
    return (), tuple(_feature({**item, "name": ""}).type for item in inputs)


def _feature(item: Mapping[str, Any]) -> Feature:
    stated = str(item.get("type"))
    required = item.get("required", True)
    if not isinstance(required, bool):
        raise DocumentError(
            f"signature.inputs: required: expected true or false, found {_shown(required)}"
        )
    feature_type = stated if stated in TYPES else "any"
    return Feature(name=str(item["name"]), type=feature_type, required=required)


def _input_tensor(inputs: Sequence[Mapping[str, Any]]) -> tuple[str | None, int | None]:
    """The dtype and width of the only tensor."""
    tensors = [item for item in inputs if item.get("type") == "tensor"]
    if len(tensors) != 1:
        return None, None
    return _tensor(tensors[0], "signature.inputs")


def _check_tensors(outputs: Sequence[Mapping[str, Any]]) -> None:
    n_tensors = sum(item.get("type") == "tensor" for item in outputs)
    if n_tensors > MAX_TENSORS:
        raise DocumentError(
            f"signature.outputs: expected at most {MAX_TENSORS} tensors, found {n_tensors:,}"
        )


def _tensor(item: Mapping[str, Any], place: str) -> tuple[str, int | None]:
    """The dtype of a tensor, and its number of columns if the file states it."""
    spec = _mapping(item.get("tensor-spec"), f"{place}: tensor-spec")
    dtype, shape = spec.get("dtype"), spec.get("shape") or []
    if not isinstance(dtype, str):
        raise DocumentError(f"{place}: dtype: expected a text, found {_shown(dtype)}")

    if not isinstance(shape, list) or any(type(size) is not int for size in shape):
        shown = str(shape)[:SHOWN_CHARACTERS]
        raise DocumentError(f"{place}: shape: expected a list of whole numbers, found {shown}")

    width = shape[1] if len(shape) == 2 and shape[1] > 0 else None
    if width is not None and width > MAX_WIDTH:
        shown = str(width)[:SHOWN_CHARACTERS]
        raise DocumentError(
            f"{place}: shape: expected at most {MAX_WIDTH:,} columns, found {shown}"
        )

    return dtype, width


def _output_names(outputs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    names = tuple(str(item["name"]) for item in outputs if "name" in item)
    return names if len(names) == len(outputs) else ()


def _output_types(item: Mapping[str, Any]) -> list[str]:
    """MLflow's type of each column of an output."""
    if item.get("type") != "tensor":
        return [str(item["type"]) if item.get("type") in TYPES else "any"]

    dtype, width = _tensor(item, "signature.outputs")
    other = "string" if dtype.startswith(("str", "object")) else "double"
    return [_DTYPES.get(dtype, other)] * (width or 1)


def _trained_with(
    folder: Path, raw: Mapping[str, Any], flavors: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """Versions of libraries, by distribution."""
    versions = {
        "mlflow": _version(raw, "mlflow_version"),
        "python": _version(flavors.get("python_function", {}), "python_version"),
    }

    for line in _requirements(folder):
        match = re.fullmatch(r"([A-Za-z0-9._-]{1,100})==([^\s;]{1,100})[\s;]?.*", line.strip())
        if match:
            versions[match[1].lower().replace("_", "-")] = match[2]

    if version := _version(flavors.get("sklearn", {}), "sklearn_version"):
        versions["scikit-learn"] = version

    return {name: version for name, version in sorted(versions.items()) if version}


def _version(stated: Mapping[str, Any], key: str) -> str:
    """The version of a library; empty if it is not stated.

    Raises:
        DocumentError: The text is far too long for a version.
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
        raise _unread_requirements(folder, f"byte {error.start:,} is not UTF-8") from None


def _unread_requirements(folder: Path, problem: str) -> ModelLoadError:
    return ModelLoadError(
        "The model's requirements cannot be read.",
        str(folder),
        found=f"requirements.txt: {problem}",
        next_step="log the model again, with its requirements as UTF-8, and register that",
    )
