"""Reads XGBoost's model files, JSON and UBJSON, without XGBoost."""

import itertools
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_SCALARS: dict[bytes, np.dtype[Any]] = {
    b"i": np.dtype(">i1"),
    b"U": np.dtype(">u1"),
    b"I": np.dtype(">i2"),
    b"l": np.dtype(">i4"),
    b"L": np.dtype(">i8"),
    b"d": np.dtype(">f4"),
    b"D": np.dtype(">f8"),
}
MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class XgboostFile:
    """What a model file says."""

    learner: Mapping[str, Any]

    @property
    def parameters(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.learner["learner_model_param"]
        return found

    @property
    def objective(self) -> str:
        return str(self.learner["objective"]["name"])

    @property
    def booster(self) -> Mapping[str, Any]:
        """`gbtree`, `dart` (which holds a `gbtree`) or `gblinear`."""
        found: Mapping[str, Any] = self.learner["gradient_booster"]
        return found

    @property
    def attributes(self) -> Mapping[str, str]:
        """Such as `best_iteration`."""
        found: Mapping[str, str] = self.learner["attributes"]
        return found

    @property
    def n_features(self) -> int:
        return int(self.parameters["num_feature"])

    @property
    def n_groups(self) -> int:
        """Columns of the margin."""
        return max(
            int(self.parameters["num_class"]), int(self.parameters.get("num_target", "1")), 1
        )

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(str(name) for name in self.learner["feature_names"])

    @property
    def feature_types(self) -> tuple[str, ...]:
        """`c` is a categorical one."""
        return tuple(str(kind) for kind in self.learner["feature_types"])

    @property
    def categories(self) -> dict[int, tuple[Any, ...]]:
        """Of each feature that was a categorical column in training; XGBoost keeps them from version 3.1 on.

        Raises:
            ValueError: They are not what they were in training.
        """
        model = self.booster.get("model") or self.booster.get("gbtree", {}).get("model", {})
        found: dict[int, tuple[Any, ...]] = {}
        for feature, stored in enumerate(model.get("cats", {}).get("enc", ())):
            if len(stored["values"]) and "offsets" in stored:
                text = bytes(int(value) & 0xFF for value in stored["values"])
                if not text.isascii():
                    raise ValueError(
                        f"feature {feature} has categories beyond ASCII, which XGBoost stores cut off: it counts "
                        "their characters and keeps as many bytes"
                    )
                ends = [int(offset) for offset in stored["offsets"]]
                found[feature] = tuple(text[a:b].decode() for a, b in itertools.pairwise(ends))
            elif len(stored["values"]):
                found[feature] = tuple(int(value) for value in stored["values"])
        return found


def read_xgboost(content: bytes) -> XgboostFile:
    """The content of a model file.

    Raises:
        ValueError: It is none.
    """
    # UBJSON's second byte is a marker or a length, JSON's a quotation mark or white space.
    is_json = content[:2].split() in ([b'{"'], [b"{"])
    document = _json(content) if is_json else _Ubjson(content).document()
    if not isinstance(document, dict) or not isinstance(document.get("learner"), dict):
        raise ValueError(
            "expected an object with the key learner: this is no model file of XGBoost"
        )
    return XgboostFile(document["learner"])


def _json(content: bytes) -> Any:
    try:
        return json.loads(content, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("objects are nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; which of two values of one name counts, readers do not agree on."""
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("expected each name of an object once")
    return names


class _Ubjson:
    """UBJSON (Draft 12) as XGBoost writes it: lengths before strings, typed arrays; all numbers big-endian."""

    def __init__(self, content: bytes) -> None:
        self._content, self._place = content, 0

    def document(self) -> Any:
        try:
            return self._value(self._marker(), 0)
        except (IndexError, struct.error, UnicodeDecodeError, KeyError) as error:
            raise ValueError(
                f"broken UBJSON near byte {self._place:,}: {type(error).__name__}: {error}"
            ) from error

    def _marker(self) -> bytes:
        found = self._content[self._place : self._place + 1]
        if not found:
            raise IndexError("the end of the file")
        self._place += 1
        return found

    def _take(self, n_bytes: int) -> bytes:
        found = self._content[self._place : self._place + n_bytes]
        if n_bytes < 0 or len(found) < n_bytes:
            raise IndexError("the end of the file")
        self._place += n_bytes
        return found

    def _value(self, marker: bytes, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError(f"objects are nested more than {MAX_DEPTH} times")
        if marker == b"{":
            return self._object(depth)
        if marker == b"[":
            return self._array(depth)
        if marker in (b"S", b"H"):
            return self._text()
        if marker in (b"T", b"F"):
            return marker == b"T"
        if marker == b"Z":
            return None
        if marker == b"C":
            return self._take(1).decode()
        dtype = _SCALARS[marker]
        return np.frombuffer(self._take(dtype.itemsize), dtype)[0].item()

    def _length(self) -> int:
        marker = self._marker()
        if marker not in (b"i", b"U", b"I", b"l", b"L"):
            raise ValueError(f"broken UBJSON near byte {self._place:,}: a length is no integer")
        return int(self._value(marker, 0))

    def _text(self) -> str:
        return self._take(self._length()).decode()

    def _array(self, depth: int) -> Any:
        marker = self._marker()
        kind = None
        if marker == b"$":
            kind = self._marker()
            marker = self._marker()
        if marker == b"#":
            n = self._length()
            if not 0 <= n <= len(self._content) - self._place:  # no element takes less than a byte
                raise IndexError("the end of the file")
            if kind is not None:
                dtype = _SCALARS[kind]
                return np.frombuffer(self._take(n * dtype.itemsize), dtype).astype(
                    dtype.newbyteorder("=")
                )
            return [self._value(self._marker(), depth + 1) for _ in range(n)]
        found = []
        while marker != b"]":
            found.append(self._value(marker, depth + 1))
            marker = self._marker()
        return found

    def _object(self, depth: int) -> dict[str, Any]:
        found = {}
        while self._content[self._place : self._place + 1] != b"}":
            name = self._text()
            if name in found:
                raise ValueError(f"expected each name of an object once, found {name[:80]!r} twice")
            found[name] = self._value(self._marker(), depth + 1)
        self._place += 1
        return found
