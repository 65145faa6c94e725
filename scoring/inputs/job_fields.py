"""The keys that a job file may have, and what their values may be, in words."""

import re
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nightscore.schemas.job import ScoringJob
from nightscore.schemas.problem import KeyPath
from nightscore.schemas.short_forms import Accepts


@dataclass(frozen=True, slots=True)
class Field:
    """What may stand at a place of a job file."""

    type: Any
    """Its type, without annotations and without None."""
    metadata: tuple[Any, ...] = ()
    """Bounds and words from the annotations."""
    is_optional: bool = False
    """Whether it may be null."""

    @property
    def section(self) -> type[BaseModel] | None:
        """The section that it is, if it is one."""
        is_section = isinstance(self.type, type) and issubclass(self.type, BaseModel)
        return self.type if is_section else None

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that it may have, if it is a section."""
        return tuple(self.section.model_fields) if self.section else ()

    @property
    def choices(self) -> tuple[str, ...]:
        """The texts that it may be; empty if it is no choice."""
        options = get_args(self.type) if _is_union(self.type) else (self.type,)
        choices: list[str] = []
        for option in options:
            if get_origin(option) is not Literal:
                return ()
            choices += get_args(option)
        return tuple(choices)

    @property
    def is_number(self) -> bool:
        """Whether it is a number, of rows, bytes, minutes or a share."""
        return self.type in (int, float)

    @property
    def is_text(self) -> bool:
        """Whether any text may stand there."""
        return self.type is str

    def allows(self, text: str) -> bool:
        """Whether a text has the form that the field demands, if it demands one."""
        patterns = [getattr(item, "pattern", None) for item in self.metadata]
        return all(re.fullmatch(pattern, text) for pattern in patterns if pattern)

    @property
    def words(self) -> str:
        """What it may be; completes "expected ..."."""
        stated = [item.words for item in self.metadata if isinstance(item, Accepts)]
        words = stated[-1] if stated else self._type_words()
        return f"{words}, or null" if self.is_optional else words

    def _type_words(self) -> str:
        if self.section is not None:
            return f"a mapping with the keys {', '.join(self.keys)}"
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.is_number:
            return _number_words(self)

        words = {bool: "true or false", str: "a text"}
        if self.type in words:
            return words[self.type]

        item = field_below(self, 0)
        if get_origin(self.type) is dict and item is not None:
            return f"a mapping of names to values, each {item.words}"
        return "a text, a number, true, false, a list or a mapping"


def field_at(path: KeyPath) -> tuple[Field, KeyPath]:
    """The innermost field that a path leads to, and the part of the path that does."""
    field = Field(ScoringJob)
    for depth, part in enumerate(path):
        below = field_below(field, part)
        if below is None:
            return field, path[:depth]
        field = below
    return field, path


def field_below(field: Field, part: str | int) -> Field | None:
    """The field under a key or at a position of another one; None if it has no such field."""
    if field.section is not None:
        info = field.section.model_fields.get(str(part))
        return None if info is None else _resolved(info.annotation, tuple(info.metadata))

    arguments = get_args(field.type)
    if get_origin(field.type) is dict:
        return _resolved(arguments[1])
    if get_origin(field.type) is tuple and isinstance(part, int):
        return _resolved(arguments[0])
    return None


def sections(path: KeyPath = ()) -> Iterator[KeyPath]:
    """The paths of all sections, the whole file first."""
    yield path

    field, _ = field_at(path)
    for key in field.keys:
        below = field_below(field, key)
        if below is not None and below.section is not None:
            yield from sections((*path, key))


def _resolved(annotation: Any, metadata: Sequence[Any] = ()) -> Field:
    """The field that an annotation describes, with its annotations collected."""
    found: list[Any] = []
    is_optional = False

    while True:
        if get_origin(annotation) is Annotated:
            annotation, *extra = get_args(annotation)
            found = [*_flat(extra), *found]
        elif _is_union(annotation) and types.NoneType in get_args(annotation):
            is_optional = True
            options = [option for option in get_args(annotation) if option is not types.NoneType]
            annotation = typing.Union[tuple(options)]  # noqa: UP007 (options are not written out)
        else:
            return Field(annotation, (*found, *_flat(metadata)), is_optional)


def _flat(metadata: Sequence[Any]) -> Iterator[Any]:
    for item in metadata:
        yield from item.metadata if isinstance(item, FieldInfo) else [item]


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (types.UnionType, typing.Union)


def _number_words(field: Field) -> str:
    words = "a whole number" if field.type is int else "a number"

    bounds = []
    for bound in field.metadata:
        if isinstance(bound, annotated_types.Ge):
            bounds.append(f"of at least {bound.ge:g}")
        elif isinstance(bound, annotated_types.Gt):
            bounds.append(f"above {bound.gt:g}")
        elif isinstance(bound, annotated_types.Le):
            bounds.append(f"of at most {bound.le:g}")

    return f"{words} {' and '.join(bounds)}".rstrip()
