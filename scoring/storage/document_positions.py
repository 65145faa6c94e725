"""Where the keys and values of a YAML document stand, for messages about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import yaml

from nightscore.storage.documents import compose_yaml

_MERGE_TAG = "tag:yaml.org,2002:merge"


class Position(NamedTuple):
    """A position in a document, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Written:
    """A value as it stands in the document."""

    text: str | None
    """Of a number, a text or another single value; None for lists and mappings."""
    is_quoted: bool
    """Whether it is in quotes, or a block: YAML then takes it for a text."""


class _Entry(NamedTuple):
    """A value with its key, or with itself if it has none."""

    key: yaml.Node
    value: yaml.Node


class DocumentPositions:
    """The positions of one document.

    Aliases and merged mappings lead to where their values are written. Each mapping is read once,
    however many positions are asked for.
    """

    def __init__(self, content: bytes) -> None:
        """Read the positions.

        Args:
            content: What `read_yaml` has read without an error.
        """
        self._root = compose_yaml(content)
        self._entries: dict[int, Mapping[str, _Entry]] = {}

    def of_value(self, path: Sequence[str | int]) -> Position | None:
        """Where a value begins, or the innermost value around it that is there."""
        entry, _ = self._find(path)
        return None if entry is None else _position_of(entry.value)

    def of_key(self, path: Sequence[str | int]) -> Position | None:
        """Where the key of a value begins, or that of the innermost value around it."""
        entry, _ = self._find(path)
        return None if entry is None else _position_of(entry.key)

    def written(self, path: Sequence[str | int]) -> Written | None:
        """A value as it is written; None if it is not there."""
        entry, is_there = self._find(path)
        if entry is None or not is_there:
            return None
        if isinstance(entry.value, yaml.ScalarNode):
            return Written(entry.value.value, is_quoted=bool(entry.value.style))
        return Written(None, is_quoted=False)

    def _find(self, path: Sequence[str | int]) -> tuple[_Entry | None, bool]:
        """The entry at a path, or the innermost one around it, and whether it is there itself."""
        if self._root is None:
            return None, False

        entry = _Entry(self._root, self._root)
        for part in path:
            # A short form stands for a section: `keys: [id]` for keys.columns.
            if isinstance(part, str) and not isinstance(entry.value, yaml.MappingNode):
                continue

            below = self._below(entry.value, part)
            if below is None:
                return entry, False
            entry = below

        return entry, True

    def _below(self, node: yaml.Node, part: str | int) -> _Entry | None:
        if isinstance(node, yaml.MappingNode):
            if id(node) not in self._entries:
                self._entries[id(node)] = _entries_of(node)
            return self._entries[id(node)].get(str(part))

        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            return _Entry(node.value[part], node.value[part])
        return None


def _entries_of(mapping: yaml.MappingNode) -> dict[str, _Entry]:
    """Keys and values: its own, then those that it merges."""
    entries: dict[str, _Entry] = {}
    waiting: list[yaml.Node] = [mapping]

    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)
        if not isinstance(node, yaml.MappingNode):
            continue

        merged = []
        for key, value in node.value:
            if key.tag == _MERGE_TAG:
                merged.append(value)
            elif isinstance(key, yaml.ScalarNode):
                entries.setdefault(key.value, _Entry(key, value))
        waiting += reversed(merged)

    return entries


def _position_of(node: yaml.Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)
