"""Prints what becomes of things on a server."""

import json
from collections import Counter
from collections.abc import Sequence

from nightscore.cli.show import counted, out
from nightscore.flows.deployments.changes import Change, FieldChange

MAX_SHOWN = 60
"""Characters of a value. A form has thousands."""


def change_document(change: Change) -> dict[str, object]:
    """A change for programs."""
    return {
        "kind": change.kind,
        "name": change.name,
        "action": change.action,
        "reason": change.reason or None,
        "fields": [
            {"field": field.field, "old": field.old, "new": field.new} for field in change.fields
        ],
    }


def print_changes(changes: Sequence[Change], *, dry_run: bool) -> None:
    """Print each thing with what happens to it, and a sentence about all."""
    width = max((len(change.name) for change in changes), default=0)

    for change in changes:
        reason = f": {change.reason}" if change.reason else ""
        out.print(f"{change.kind:<11} {change.name:<{width}}  {change.action}{reason}")
        for field in change.fields:
            out.print(f"{'':<11} {_field_line(field)}")

    out.print(_summary(changes, dry_run=dry_run))


def _summary(changes: Sequence[Change], *, dry_run: bool) -> str:
    n_things = Counter(change.action for change in changes)
    done = []
    for action in ("created", "changed"):
        if n_things[action]:
            verb = f"would be {action}" if dry_run else action
            done.append(f"{counted(n_things[action], 'thing')} {verb}")

    if not done:
        return "Nothing would change." if dry_run else "Nothing changed."
    return f"{', '.join(done)}."


def _field_line(field: FieldChange) -> str:
    return f"{field.field}: {_shown(field.old)} -> {_shown(field.new)}"


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
