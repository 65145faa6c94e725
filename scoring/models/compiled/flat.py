"""Compiled models as one file that is mapped into memory: workers share its pages, and need no scikit-learn.

The sha256 of all that follows; a line of JSON with the model's fields, where arrays are told by number, type and
place; then the arrays' bytes, each from a multiple of 64 on. Nothing of it is executed.
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
        Branch, FeatureRules, FlatForest, LinearForm, Link, NumberSteps, SplitTrees, TreesForm, ValueTable,
        WalkedTrees,
    )
}  # fmt: skip
UNFIT = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError, SyntaxError,
    MemoryError,
)  # fmt: skip
"""What reading a file that nobody has written whole may raise; NumPy parses the name of a type."""
ALIGNMENT = 64
DIGEST_BYTES = 64


class FlatFileError(Exception):
    """A file is not what it should be: it is made again."""


def write_form(form: CompiledForm, path: Path) -> None:
    """Write a compiled model; it appears whole or not at all."""
    arrays: list[Any] = []
    text = json.dumps(
        {"form": _packed(form, arrays), "arrays": _places(arrays)}, allow_nan=True
    ).encode()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    spool = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with os.fdopen(os.open(spool, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
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
    """The model, its arrays mapped and read-only.

    Args:
        path: Of the file.
        n_columns: Of the tables that it will be given; 0: nobody has said.

    Raises:
        FlatFileError: The file is not whole, or not of this version; others could have written it; or what it holds
            would make the kernels reach beyond it.
        FileNotFoundError: There is none.
    """
    with path.open("rb") as file:
        if not is_owned(os.fstat(file.fileno())):
            raise FlatFileError(f"{path}: others could have written it")
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise FlatFileError(f"{path}: {error}") from error
    with memoryview(content)[DIGEST_BYTES:] as rest:
        if content[:DIGEST_BYTES].decode(errors="replace") != hashlib.sha256(rest).hexdigest():
            raise FlatFileError(f"{path} is not what was written")
    end = content.find(b"\n")
    start = _aligned(end + 1)
    try:
        found = json.loads(content[DIGEST_BYTES:end])
        arrays = [
            np.frombuffer(content, np.dtype(kind), int(np.prod(shape)), start + place).reshape(
                shape
            )
            if np.prod(shape)
            else np.empty(shape, np.dtype(kind))
            for kind, shape, place in found["arrays"]
        ]
        form = _unpacked(found["form"], arrays)
    except UNFIT as error:
        raise FlatFileError(f"{path}: {error}") from error
    # A checksum says that the file is whole, not who has written it.
    problems = form_problems(form, n_columns)
    if problems:
        raise FlatFileError(f"{path}: {problems[0]}")
    return form  # type: ignore[no-any-return]


def frozen(form: CompiledForm) -> CompiledForm:
    """The same as it comes out of a file, with arrays that nobody writes to."""
    arrays: list[Any] = []
    packed = json.loads(json.dumps(_packed(form, arrays)))
    for array in arrays:
        array.flags.writeable = False
    return _unpacked(packed, arrays)  # type: ignore[no-any-return]


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT


def _contents(text: bytes, arrays: list[Any]) -> Iterator[bytes]:
    start = DIGEST_BYTES + len(text) + 1
    yield text + b"\n" + b"\0" * (_aligned(start) - start)
    for array in arrays:
        yield array.tobytes()
        yield b"\0" * (_aligned(array.nbytes) - array.nbytes)


def _places(arrays: list[Any]) -> list[tuple[str, list[int], int]]:
    found, place = [], 0
    for array in arrays:
        found.append((array.dtype.str, list(array.shape), place))
        place += _aligned(array.nbytes)
    return found


def _packed(value: Any, arrays: list[Any]) -> Any:
    """Of JSON's own types; what else there is becomes an object of one key that says what it was."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        return {"objects": [_packed(item, arrays) for item in value.tolist()]}
    if isinstance(value, np.ndarray):
        arrays.append(np.ascontiguousarray(value))
        return {"array": len(arrays) - 1}
    if isinstance(value, np.dtype):
        return {"dtype": value.str}
    if isinstance(value, tuple | list):
        return [_packed(item, arrays) for item in value]
    if isinstance(value, Mapping):
        return {
            "items": [[_packed(key, arrays), _packed(item, arrays)] for key, item in value.items()]
        }
    if dataclasses.is_dataclass(value) and type(value).__name__ in KINDS:
        fields = {
            f.name: _packed(getattr(value, f.name), arrays) for f in dataclasses.fields(value)
        }
        return {"kind": type(value).__name__, "fields": fields}
    raise TypeError(f"a {type(value).__name__} in a compiled model")


def _unpacked(value: Any, arrays: list[Any]) -> Any:
    if isinstance(value, list):
        return tuple(_unpacked(item, arrays) for item in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "objects" in value:
        found = np.empty(len(value["objects"]), object)
        found[:] = [_unpacked(item, arrays) for item in value["objects"]]
        return found
    if "dtype" in value:
        return np.dtype(value["dtype"])
    if "items" in value:
        return {_unpacked(key, arrays): _unpacked(item, arrays) for key, item in value["items"]}
    kind = KINDS[value["kind"]]
    return kind(**{name: _unpacked(item, arrays) for name, item in value["fields"].items()})
