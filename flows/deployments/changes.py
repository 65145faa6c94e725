"""What a server has, beside what it should have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Action = Literal["created", "changed", "unchanged", "skipped"]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One value that changes."""

    field: str
    """Its keys, joined by dots."""
    old: Any
    """None: it is not there yet."""
    new: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of one thing on the server."""

    kind: str
    """`work pool`, `queue`, `deployment`, `schedule`, `block` or `automation`."""
    name: str
    action: Action
    fields: tuple[FieldChange, ...] = ()
    reason: str = ""
    """Why it was skipped."""


def change_between(
    kind: str, name: str, old: Mapping[str, Any] | None, new: Mapping[str, Any]
) -> Change:
    """What happens to a thing that is to have new fields. None: it does not exist."""
    if old is None:
        return Change(kind=kind, name=name, action="created")

    fields = tuple(differences(old, new))
    return Change(kind=kind, name=name, action="changed" if fields else "unchanged", fields=fields)


def differences(old: Any, new: Any, path: str = "") -> list[FieldChange]:
    """The values that differ between two JSON documents, the innermost ones."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return [] if old == new else [FieldChange(path, old, new)]

    found: list[FieldChange] = []
    for key in sorted({*old, *new}):
        below = f"{path}.{key}" if path else str(key)
        found += differences(old.get(key), new.get(key), below)
    return found


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The old document with the values of the new one; what only the old one has stays."""
    result = dict(old)
    for key, value in new.items():
        before = result.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            result[key] = merged(before, value)
        else:
            result[key] = value
    return result


def first_keys(fields: Sequence[FieldChange]) -> set[str]:
    """The outermost keys of what changes."""
    return {change.field.partition(".")[0] for change in fields}
