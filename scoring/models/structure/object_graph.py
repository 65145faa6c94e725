"""All objects that an estimator is made of."""

import functools
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

PLAIN = (str, bytes, int, float, bool, complex, type(None), np.generic, np.dtype, type)
"""Objects of these types hold no others."""


def is_a(part: Any, module: str, name: str) -> bool:
    """Whether an object is of a class. If its module was never loaded, nothing is."""
    loaded = sys.modules.get(module)
    named = getattr(loaded, name, None)
    return isinstance(named, type) and isinstance(part, named)


def walk(root: Any) -> Iterator[tuple[str, Any]]:
    """All objects within an estimator, each once, with the path to it. Circles are allowed."""
    waiting: list[tuple[str, Any]] = [("model", root)]
    seen: dict[int, Any] = {}  # holds the objects, so that no id is given twice
    while waiting:
        path, part = waiting.pop()
        if id(part) in seen:
            continue

        seen[id(part)] = part
        yield path, part

        for inner_path, child in _children(path, part):
            if not isinstance(child, PLAIN):
                waiting.append((inner_path, child))


def _children(path: str, part: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds."""
    if isinstance(part, dict):
        for key, child in part.items():
            yield f"{path}[{key!r}]" if isinstance(key, str) else path, child
    elif isinstance(part, list | tuple | set | frozenset | np.ndarray):
        for i, child in enumerate(_elements(part)):
            yield f"{path}[{i}]", child
    else:
        yield from _attributes(path, part)


def _elements(part: Any) -> Iterable[Any]:
    if not isinstance(part, np.ndarray):
        return list(part)
    return part.ravel().tolist() if part.dtype.kind == "O" else []


def _attributes(path: str, part: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(part, functools.partial):
        for child in (part.func, part.args, part.keywords):
            yield path, child
    elif is_a(part, "numpy.random.mtrand", "RandomState"):
        yield path, part._bit_generator
    elif is_a(part, "numpy.random._generator", "Generator"):
        yield path, part.bit_generator
    else:
        for name, child in getattr(part, "__dict__", {}).items():
            yield f"{path}.{name}", child
