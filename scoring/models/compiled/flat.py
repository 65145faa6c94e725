"""Compiled models as one file that is mapped into memory.

Workers share its pages, and need no scikit-learn. The file has the SHA-256 of all that follows; a
line of JSON with the model's fields, and the type, shape and place of each array; then the arrays'
bytes, each at a multiple of 64. Nothing in it is executed.
"""

import dataclasses
import hashlib
import json
import mmap
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nightscore.models.compiled.booster_values import FeatureRules
from nightscore.models.compiled.encode import Branch, NumberSteps
from nightscore.models.compiled.forest import FlatForest, SplitTrees, WalkedTrees
from nightscore.models.compiled.form_structure import form_problems
from nightscore.models.compiled.linear import LinearForm
from nightscore.models.compiled.links import Link
from nightscore.models.compiled.trees import TreesForm
from nightscore.models.compiled.values import ValueTable
from nightscore.native.private_files import is_owned

CompiledForm = LinearForm | TreesForm
KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        Branch,
        FeatureRules,
        FlatForest,
        LinearForm,
        Link,
        NumberSteps,
        SplitTrees,
        TreesForm,
        ValueTable,
        WalkedTrees,
    )
}
"""Records that a file may hold."""
UNFIT = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError,
    SyntaxError, MemoryError,
)  # fmt: skip
"""What reading a file that nobody has written whole may raise. NumPy parses the name of a type."""
ALIGNMENT = 64
DIGEST_BYTES = 64


class FlatFileError(Exception):
    """A file is damaged, or not to be trusted. The form is made again."""


def write_form(form: CompiledForm, path: Path) -> None:
    """Write a compiled model. The file appears whole or not at all."""
    arrays: list[Any] = []
    fields = _packed(form, arrays)
    text = json.dumps({"form": fields, "arrays": _places(arrays)}, allow_nan=True).encode()

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    spool = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    descriptor = os.open(spool, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        total = hashlib.sha256()
        file.write(b" " * DIGEST_BYTES)

        for content in _contents(text, arrays):
            total.update(content)
            file.write(content)

        file.seek(0)
        file.write(total.hexdigest().encode())
        file.flush()
        os.fsync(file.fileno())

    spool.replace(path)


def read_form(path: Path, n_columns: int = 0) -> CompiledForm:
    """The model, with arrays that are mapped and read-only.

    Args:
        path: The file.
        n_columns: Columns of the tables that it will get; 0: not known.

    Raises:
        FlatFileError: The file is damaged or of another version, others could have written it, or
            its content would make kernels reach beyond their arrays.
        FileNotFoundError: There is none.
    """
    content = _map(path)
    with memoryview(content)[DIGEST_BYTES:] as rest:
        digest = hashlib.sha256(rest).hexdigest()

    if content[:DIGEST_BYTES].decode(errors="replace") != digest:
        raise FlatFileError(f"{path} is not what was written")

    try:
        form = _parse(content)
    except UNFIT as error:
        raise FlatFileError(f"{path}: {error}") from error

    # A checksum says that the file is whole, not who has written it.
    problems = form_problems(form, n_columns)
    if problems:
        raise FlatFileError(f"{path}: {problems[0]}")

    return form  # type: ignore[no-any-return]


def frozen(form: CompiledForm) -> CompiledForm:
    """The form as a file would give it back, with arrays that nobody can write to."""
    arrays: list[Any] = []
    packed = json.loads(json.dumps(_packed(form, arrays)))
    for array in arrays:
        array.flags.writeable = False
    return _unpacked(packed, arrays)  # type: ignore[no-any-return]


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        if not is_owned(os.fstat(file.fileno())):
            raise FlatFileError(f"{path}: others could have written it")
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise FlatFileError(f"{path}: {error}") from error


def _parse(content: mmap.mmap) -> Any:
    end = content.find(b"\n")
    start = _aligned(end + 1)
    header = json.loads(content[DIGEST_BYTES:end])

    arrays = []
    for name, shape, place in header["arrays"]:
        arrays.append(_read_array(content, np.dtype(name), shape, start + place))
    return _unpacked(header["form"], arrays)


def _read_array(content: mmap.mmap, dtype: np.dtype[Any], shape: list[int], place: int) -> Any:
    size = int(np.prod(shape))
    # NumPy makes no empty array at the end of a buffer.
    if not size:
        return np.empty(shape, dtype)
    return np.frombuffer(content, dtype, size, place).reshape(shape)


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT


def _contents(text: bytes, arrays: list[Any]) -> Iterator[bytes]:
    start = DIGEST_BYTES + len(text) + 1
    yield text + b"\n" + b"\0" * (_aligned(start) - start)
    for array in arrays:
        yield array.tobytes()
        yield b"\0" * (_aligned(array.nbytes) - array.nbytes)


def _places(arrays: list[Any]) -> list[tuple[str, list[int], int]]:
    """The type, the shape and the place of each array."""
    places, place = [], 0
    for array in arrays:
        places.append((array.dtype.str, list(array.shape), place))
        place += _aligned(array.nbytes)
    return places


def _packed(value: Any, arrays: list[Any]) -> Any:
    """A value in JSON's own types. Any other type becomes an object whose key says what it was."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, np.ndarray):
        return _packed_array(value, arrays)
    if isinstance(value, np.dtype):
        return {"dtype": value.str}
    if isinstance(value, tuple | list):
        return [_packed(item, arrays) for item in value]

    if isinstance(value, Mapping):
        pairs = []
        for key, item in value.items():
            pairs.append([_packed(key, arrays), _packed(item, arrays)])
        return {"items": pairs}

    kind = type(value).__name__
    if not dataclasses.is_dataclass(value) or kind not in KINDS:
        raise TypeError(f"a {kind} in a compiled model")

    names = [field.name for field in dataclasses.fields(value)]

    return {"kind": kind, "fields": {name: _packed(getattr(value, name), arrays) for name in names}}


def _packed_array(array: Any, arrays: list[Any]) -> dict[str, Any]:
    if array.dtype.kind == "O":
        return {"objects": [_packed(item, arrays) for item in array.tolist()]}

    arrays.append(np.ascontiguousarray(array))
    return {"array": len(arrays) - 1}


def _unpacked(value: Any, arrays: list[Any]) -> Any:
    if isinstance(value, list):
        return tuple(_unpacked(item, arrays) for item in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "dtype" in value:
        return np.dtype(value["dtype"])

    if "objects" in value:
        objects = np.empty(len(value["objects"]), object)
        objects[:] = [_unpacked(item, arrays) for item in value["objects"]]
        return objects

    if "items" in value:
        return {_unpacked(key, arrays): _unpacked(item, arrays) for key, item in value["items"]}

    kind = KINDS[value["kind"]]

    return kind(**{name: _unpacked(item, arrays) for name, item in value["fields"].items()})
