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
"""NumPy's types by UBJSON's markers; all are big-endian."""
MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class XgboostFile:
    """What a model file says."""

    learner: Mapping[str, Any]

    @property
    def parameters(self) -> Mapping[str, str]:
        """Such as `num_feature`."""
        parameters: Mapping[str, str] = self.learner["learner_model_param"]
        return parameters

    @property
    def objective(self) -> str:
        """Its name, such as `binary:logistic`."""
        return str(self.learner["objective"]["name"])

    @property
    def booster(self) -> Mapping[str, Any]:
        """`gbtree`, `dart` (which holds a `gbtree`) or `gblinear`."""
        booster: Mapping[str, Any] = self.learner["gradient_booster"]
        return booster

    @property
    def attributes(self) -> Mapping[str, str]:
        """Such as `best_iteration`."""
        attributes: Mapping[str, str] = self.learner["attributes"]
        return attributes

    @property
    def n_features(self) -> int:
        """Columns of X."""
        return int(self.parameters["num_feature"])

    @property
    def n_groups(self) -> int:
        """Columns of the margin."""
        n_classes = int(self.parameters["num_class"])
        n_targets = int(self.parameters.get("num_target", "1"))
        return max(n_classes, n_targets, 1)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the training frame; empty if there were none."""
        return tuple(str(name) for name in self.learner["feature_names"])

    @property
    def feature_types(self) -> tuple[str, ...]:
        """`c` means categorical."""
        return tuple(str(feature_type) for feature_type in self.learner["feature_types"])

    @property
    def categories(self) -> dict[int, tuple[Any, ...]]:
        """Categories of each categorical feature of training, which XGBoost stores from 3.1 on.

        Raises:
            ValueError: They are not what they were in training.
        """
        model = self.booster.get("model") or self.booster.get("gbtree", {}).get("model", {})
        categories: dict[int, tuple[Any, ...]] = {}

        for feature, stored in enumerate(model.get("cats", {}).get("enc", ())):
            if not len(stored["values"]):
                continue

            if "offsets" in stored:
                categories[feature] = _text_categories(feature, stored)
            else:
                categories[feature] = tuple(int(value) for value in stored["values"])

        return categories


def _text_categories(feature: int, stored: Mapping[str, Any]) -> tuple[str, ...]:
    text = bytes(int(value) & 0xFF for value in stored["values"])
    if not text.isascii():
        raise ValueError(
            f"feature {feature} has categories beyond ASCII, which XGBoost stores cut off: it "
            "counts their characters and stores as many bytes"
        )
    ends = [int(offset) for offset in stored["offsets"]]
    return tuple(text[start:end].decode() for start, end in itertools.pairwise(ends))


def read_xgboost(content: bytes) -> XgboostFile:
    """The content of a model file.

    Raises:
        ValueError: It is not a model file.
    """
    # UBJSON's second byte is a marker or a length, JSON's a quotation mark or white space.
    is_json = content[:2].split() in ([b'{"'], [b"{"])
    document = _json(content) if is_json else _Ubjson(content).document()
    if not isinstance(document, dict) or not isinstance(document.get("learner"), dict):
        raise ValueError(
            "expected an object with the key learner: this is not a model file of XGBoost"
        )

    return XgboostFile(document["learner"])


def _json(content: bytes) -> Any:
    try:
        return json.loads(content, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("objects are nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. Readers disagree on which of two values of one name counts, so one is allowed."""
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("expected each name of an object once")
    return names


class _Ubjson:
    """UBJSON (Draft 12) as XGBoost writes it: lengths before strings, and typed arrays."""

    def __init__(self, content: bytes) -> None:
        self._content, self._place = content, 0

    def document(self) -> Any:
        """The whole document."""
        try:
            return self._value(self._marker(), 0)
        except (IndexError, struct.error, UnicodeDecodeError, KeyError) as error:
            raise ValueError(
                f"broken UBJSON near byte {self._place:,}: {type(error).__name__}: {error}"
            ) from error

    def _marker(self) -> bytes:
        return self._take(1)

    def _take(self, n_bytes: int) -> bytes:
        taken = self._content[self._place : self._place + n_bytes]
        if n_bytes < 0 or len(taken) < n_bytes:
            raise IndexError("the end of the file")
        self._place += n_bytes
        return taken

    def _value(self, marker: bytes, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError(f"objects are nested more than {MAX_DEPTH} times")

        match marker:
            case b"{":
                return self._object(depth)
            case b"[":
                return self._array(depth)
            case b"S" | b"H":
                return self._text()
            case b"T" | b"F":
                return marker == b"T"
            case b"Z":
                return None
            case b"C":
                return self._take(1).decode()

        dtype = _SCALARS[marker]
        return np.frombuffer(self._take(dtype.itemsize), dtype)[0].item()

    def _length(self) -> int:
        marker = self._marker()
        if marker not in (b"i", b"U", b"I", b"l", b"L"):
            raise ValueError(f"broken UBJSON near byte {self._place:,}: a length is not an integer")
        return int(self._value(marker, 0))

    def _text(self) -> str:
        return self._take(self._length()).decode()

    def _array(self, depth: int) -> Any:
        marker = self._marker()
        element_type = None
        if marker == b"$":
            element_type = self._marker()
            marker = self._marker()

        if marker == b"#":
            return self._counted_array(element_type, depth)

        elements = []
        while marker != b"]":
            elements.append(self._value(marker, depth + 1))
            marker = self._marker()

        return elements

    def _counted_array(self, element_type: bytes | None, depth: int) -> Any:
        n = self._length()
        if not 0 <= n <= len(self._content) - self._place:  # no element takes less than a byte
            raise IndexError("the end of the file")
        if element_type is None:
            return [self._value(self._marker(), depth + 1) for _ in range(n)]

        dtype = _SCALARS[element_type]
        values = np.frombuffer(self._take(n * dtype.itemsize), dtype)
        return values.astype(dtype.newbyteorder("="))

    def _object(self, depth: int) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        while self._content[self._place : self._place + 1] != b"}":
            name = self._text()
            if name in fields:
                raise ValueError(f"expected each name of an object once, found {name[:80]!r} twice")
            fields[name] = self._value(self._marker(), depth + 1)
        self._place += 1
        return fields
