"""What stands at a place of a job file, in words, and what was probably meant.

Values are quoted only where they cannot be secrets: numbers, and texts where a number, a choice or
the job's name belongs. Nothing below `storage_options` is quoted.
"""

import datetime
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nightscore.inputs.job_fields import Field
from nightscore.schemas.problem import KeyPath
from nightscore.storage.document_positions import Written

MAX_QUOTED = 40
"""Characters of a value that a message repeats."""

_SCALARS = (bool, int, float, str, datetime.date)
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "a text"),
    (datetime.date, "a date"),
    ((list, tuple), "a list"),
    (Mapping, "a mapping"),
)
_LOGGED_MODEL = re.compile(r"\bm-[0-9a-f]{32}\b")
_ALMOST_MODEL = re.compile(r"(?:models:)?/*([^/@:\s]+)(/\d+|@[^/@\s]+)")
_UNIT = re.compile("[A-Za-z%]")


@dataclass(frozen=True, slots=True)
class JobValue:
    """A value that does not fit its field."""

    field: Field
    path: KeyPath
    value: Any
    written: Written | None
    """As it stands in the file, if the job came from one."""

    def describe(self) -> str:
        """What was expected, what was found, and what was probably meant."""
        text = f"expected {self.field.words}; found {self._found()}"
        hint = self._hint()
        return f"{text}; {hint}" if hint else text

    def _found(self) -> str:
        value, shown = self.value, self._quoted()
        if value is None or value == "" or shown is None:
            return describe_value(value)

        if isinstance(value, str):
            return f"the text {shown}"
        if isinstance(value, bool) and shown.lower() not in ("true", "false"):
            return f"{shown}, which YAML reads as {str(value).lower()}"
        if isinstance(value, datetime.date):
            return f"{shown}, which YAML reads as a date"
        if ":" in shown:
            return f"{shown}, which YAML reads as the number {value}"
        return shown

    def _quoted(self) -> str | None:
        """The value as it is written; None if it is not to be repeated."""
        if "storage_options" in self.path or not isinstance(self.value, _SCALARS):
            return None
        if isinstance(self.value, str) and not self._is_closed():
            return None

        text = str(self.value)
        if isinstance(self.value, bool):
            text = text.lower()
        if self.written is not None and self.written.text is not None:
            text = self.written.text
        return text if len(text) <= MAX_QUOTED else None

    def _is_closed(self) -> bool:
        """Whether a text is surely meant as a number, a choice or the job's name."""
        field = self.field
        is_choice = bool(field.choices) or field.type is bool
        return field.is_number or is_choice or self.path == ("name",)

    def _hint(self) -> str:
        """What to write instead, where that is clear. Empty: it is not."""
        field, value = self.field, self.value
        is_plain = isinstance(value, _SCALARS) and not isinstance(value, str)

        if field.type is bool:
            return _near_flag(value)
        if field.choices:
            return _near_choice(field.choices, value)
        if field.is_number:
            return _near_number(field, value, self.written)

        if self.path == ("name",) and isinstance(value, str):
            return _meant(re.sub(r"[^A-Za-z0-9_.-]+", "_", value).strip("_.-")[:100])
        if field.is_text and is_plain:
            shown = self._quoted()
            if shown and not field.allows(shown):
                return ""
            return "put it into quotes" + (f': "{shown}"' if shown else "")

        if field.section and isinstance(value, list):
            return "write its keys without dashes in front"
        return ""


def describe_value(value: Any) -> str:
    """What kind of value this is."""
    if value is None:
        return "nothing"
    if value == "":
        return "an empty text"
    kinds = (words for kind, words in _KINDS if isinstance(value, kind))
    return next(kinds, "another kind of value")


def near_model(uri: str) -> str:
    """What is found in place of a model's URI, and the URI that was probably meant."""
    logged = _LOGGED_MODEL.search(uri)
    if logged:
        return f"; {_meant(f'models:/{logged[0]}')}"
    if not uri or len(uri) > MAX_QUOTED:
        return ""

    text = f"; found {uri}"
    match = _ALMOST_MODEL.fullmatch(uri)
    if match:
        text += f"; {_meant(f'models:/{match[1]}{match[2]}')}"
    return text


def _meant(text: str) -> str:
    return f"did you mean {text}?" if text else ""


def _near_choice(choices: tuple[str, ...], value: Any) -> str:
    near = difflib.get_close_matches(str(value).lower(), choices, n=1, cutoff=0.5)
    return _meant("".join(near))


def _near_flag(value: Any) -> str:
    """True or false, if the value is another word for one of them."""
    word = str(value).strip().lower()
    if word in ("1", "1.0", "y", "yes", "on", "true"):
        return "write true, without quotes"
    if word in ("0", "0.0", "n", "no", "off", "false"):
        return "write false, without quotes"
    return ""


def _near_number(field: Field, value: Any, written: Written | None) -> str:
    if isinstance(value, bool):
        return "write a number"
    if isinstance(value, str):
        number = _without_separators(value)
        return f"write it without quotes: {number}" if number == value else _meant(number)

    has_unit = written is not None and _UNIT.search(written.text or "") is not None
    if has_unit or not isinstance(value, int | float):
        return ""

    if "GiB" in field.words and 0 < value < 1 << 20:
        unit = "GiB" if value < 64 else "MiB"
        return _meant(f"{value:g}{unit}")
    if "%" in field.words and 1 < value <= 100:
        return _meant(f"{value:g}%")
    return ""


def _without_separators(text: str) -> str:
    """The number that a text with thousands separators or a decimal comma stands for, or none."""
    plain = re.sub("[ '_]", "", text)
    if re.fullmatch(r"\d{1,3}(,\d{3})+", plain):
        return plain.replace(",", "")
    if re.fullmatch(r"\d+,\d+%?", plain):
        return plain.replace(",", ".")
    if re.fullmatch(r"-?\d+(\.\d+)?", plain):
        return re.sub(r"^(-?)0+(?=\d)", r"\1", plain)
    return ""
