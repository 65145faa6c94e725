"""Numbers in the attributes of a node of ONNX."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Attributes = Mapping[str, Any]
"""The attributes of a node, by name."""

FLOAT, DOUBLE, FLOAT16, UINT8 = 1, 11, 10, 2
"""ONNX's numbers of types."""


class BrokenError(Exception):
    """What is wrong with a node."""


def integers(attributes: Attributes, name: str) -> Integers:
    """A list of whole numbers; empty if there is none."""
    attribute = attributes.get(name)
    if attribute is None:
        return np.empty(0, np.int64)
    if attribute.type != attribute.INTS:
        raise BrokenError(f"{name}: expected whole numbers")
    return np.asarray(attribute.ints, np.int64)


def integer(attributes: Attributes, name: str, default: int) -> int:
    """A whole number."""
    attribute = attributes.get(name)
    if attribute is None:
        return default
    if attribute.type != attribute.INT:
        raise BrokenError(f"{name}: expected a whole number")
    return int(attribute.i)


def numbers(attributes: Attributes, name: str) -> npt.NDArray[Any]:
    """A list of numbers, or the tensor that may take its place; empty if there is neither."""
    plain, as_tensor = attributes.get(name), attributes.get(f"{name}_as_tensor")
    if plain is not None and as_tensor is not None:
        raise BrokenError(f"{name}: is given twice")
    if as_tensor is not None:
        return tensor(as_tensor, f"{name}_as_tensor", (FLOAT, DOUBLE))

    if plain is None:
        return np.empty(0)
    if plain.type != plain.FLOATS:
        raise BrokenError(f"{name}: expected numbers")

    return np.asarray(plain.floats)


def tensor(attribute: Any, name: str, types: tuple[int, ...]) -> npt.NDArray[Any]:
    """A tensor of one dimension, of one of these types."""
    from onnx import numpy_helper

    is_tensor = attribute.type == attribute.TENSOR
    if not is_tensor or len(attribute.t.dims) != 1 or len(attribute.t.external_data):
        raise BrokenError(f"{name}: expected a tensor of one dimension")

    if attribute.t.data_type not in types:
        raise BrokenError(
            f"{name}: a tensor of the type {attribute.t.data_type} does not hold such numbers"
        )

    return np.asarray(numpy_helper.to_array(attribute.t))


def required_tensor(attributes: Attributes, name: str, types: tuple[int, ...]) -> npt.NDArray[Any]:
    """The same, of an attribute that must be there."""
    if name not in attributes:
        raise BrokenError(f"{name}: is missing")
    return tensor(attributes[name], name, types)
