"""YAML and JSON that others wrote: read as plain data, within bounds of size, depth and expansion.

A short YAML file can stand for more values than memory holds, since an alias repeats what its
anchor names. Whatever later walks the data, to check, copy or print it, takes as long as what the
file stands for. That is bounded here, before anything is built.
"""

import json
import re
from collections import Counter
from collections.abc import Hashable
from typing import Any

import yaml

from nightscore.storage.document_problems import describe_json_slip, find_cause

MAX_BYTES = 16 << 20
"""The MLmodel file of a model with 100,000 columns has 10 MB."""

MAX_DEPTH = 64

MAX_VALUES = 200_000
"""Keys and values of a YAML file, including those that aliases repeat."""

MAX_TEXT = 64 << 20
"""Characters of all of them."""

MAX_NUMBER = 100
"""Characters of a number, a date or another value that is not a text."""

_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser takes a tenth of the time, if it was built in."""

_SURROGATES = re.compile(
    r"(?<!\\)((?:\\\\)*)\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})", re.IGNORECASE
)
"""A character beyond 16 bits, as `json.dump` writes it, after an even number of backslashes."""
_JSON_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')

_TEXT_TAG = "tag:yaml.org,2002:str"

_CONVERSION_ERRORS = (ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""What PyYAML's own conversions raise for a value that does not fit its tag."""


class DocumentError(ValueError):
    """What is wrong with a document, and where. It quotes no values, which may be secrets."""


class DocumentBoundsError(DocumentError):
    """A document that may be well formed, but is too large, too deep or expands too far."""


class _BoundsError(yaml.MarkedYAMLError):
    """The same, with its mark."""


class _ContentError(yaml.MarkedYAMLError):
    """Well-formed YAML that no data can be made of, in our own words."""


class _Loader(_FAST):  # type: ignore[misc]
    """YAML without surprises: a repeated key is an error, since the first one would be lost."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Hashable, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise _invalid("the value is no mapping", node.start_mark)

        counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        repeated = sorted(key for key, n_times in counts.items() if n_times > 1)
        if repeated:
            raise _given_twice(repeated, node)

        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        is_value = isinstance(node, yaml.ScalarNode) and node.tag != _TEXT_TAG
        if is_value and len(node.value) > MAX_NUMBER:
            raise _invalid(
                f"expected at most {MAX_NUMBER} characters unless it is a text", node.start_mark
            )

        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except _CONVERSION_ERRORS as error:
            kind = node.tag.rpartition(":")[2]
            raise _invalid(f"the value is no {kind}", node.start_mark) from error


class _TextKeyLoader(_Loader):
    """The same with all keys as texts: `no`, `2024` and `null` are names of columns, too."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        node.value = [(_as_text(key), value) for key, value in node.value]


def _as_text(key: yaml.Node) -> yaml.Node:
    """A key as it is written, in a node of its own: an alias may share the given one."""
    if not isinstance(key, yaml.ScalarNode):
        return key
    return yaml.ScalarNode(_TEXT_TAG, key.value, key.start_mark, key.end_mark, key.style)


def read_yaml(content: bytes, max_bytes: int = MAX_BYTES, *, has_text_keys: bool = False) -> Any:
    """The data of a YAML document.

    Args:
        content: The document.
        max_bytes: Its greatest size.
        has_text_keys: Whether all keys are texts, whatever YAML would convert them to.

    Raises:
        DocumentError: It is not YAML, or exceeds the bounds. Names line and column.
    """
    text = _decode(content, max_bytes)

    try:
        _check_expansion(text)
        loader = _TextKeyLoader if has_text_keys else _Loader
        return yaml.load(text, loader)  # noqa: S506 (safe loaders)
    except yaml.MarkedYAMLError as error:
        raise _describe(error, text) from None
    except yaml.reader.ReaderError as error:
        raise DocumentError(_describe_character(error, text)) from None
    except (yaml.YAMLError, *_CONVERSION_ERRORS) as error:
        raise DocumentError(f"a value does not fit its type ({type(error).__name__})") from None


def compose_yaml(content: bytes, max_bytes: int = MAX_BYTES) -> yaml.Node | None:
    """The nodes of a YAML document, with their marks. None if it is empty.

    Nodes that aliases repeat are shared, so this takes no more memory than the document.

    Raises:
        DocumentError: It is not YAML, or exceeds the bounds.
    """
    text = _decode(content, max_bytes)

    try:
        _check_expansion(text)
        node: yaml.Node | None = yaml.compose(text, _FAST)
    except yaml.MarkedYAMLError as error:
        raise _describe(error, text) from None
    return node


def read_json(
    content: bytes | str, max_bytes: int = MAX_BYTES, *, has_unique_keys: bool = False
) -> Any:
    """The data of a JSON document.

    Args:
        content: The document.
        max_bytes: Its greatest size.
        has_unique_keys: Whether a repeated key is an error. Otherwise the last one counts.

    Raises:
        DocumentError: It is not JSON, or exceeds the bounds.
    """
    text = _decode(content, max_bytes)

    try:
        hook = _unique_mapping if has_unique_keys else None
        data = json.loads(text, object_pairs_hook=hook)

        if "\\ud" in text.lower():
            json.dumps(data, ensure_ascii=False).encode()
        return data
    except DocumentError:
        raise
    except UnicodeEncodeError:
        raise DocumentError("a text has half a surrogate pair") from None
    except json.JSONDecodeError as error:
        words = describe_json_slip(error) or error.msg
        raise DocumentError(f"line {error.lineno}, column {error.colno}: {words}") from None
    except RecursionError:
        raise DocumentBoundsError("values are nested too deep") from None
    except ValueError:
        raise DocumentError("a number has too many digits") from None


def _unique_mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        name, _ = counts.most_common(1)[0]
        raise DocumentError(f"the key {name} is given twice")
    return mapping


def json_as_yaml(content: bytes) -> bytes:
    """A JSON document as YAML with the same lines and columns, to find the places of its values.

    Empty: it cannot be read as YAML.
    """
    text = content.decode().removeprefix("\ufeff").replace("\t", " ")
    document = _JSON_TEXT.sub(_without_surrogates, text).encode()

    try:
        compose_yaml(document)
    except DocumentError:
        return b""
    return document


def _without_surrogates(text: re.Match[str]) -> str:
    """A text of JSON for YAML. Spaces behind it keep what follows at its place."""
    return _SURROGATES.sub(_as_one_escape, text[0]).ljust(len(text[0]))


def _as_one_escape(pair: re.Match[str]) -> str:
    """YAML's escape of the character that a surrogate pair of JSON stands for."""
    before, high, low = pair.groups()
    units = bytes.fromhex(high + low)
    return f"{before}\\U{ord(units.decode('utf-16-be')):08x}"


def _decode(content: bytes | str, max_bytes: int) -> str:
    if len(content) > max_bytes:
        raise DocumentBoundsError(f"expected at most {max_bytes:,} bytes, found {len(content):,}")
    if isinstance(content, str):
        return content
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise DocumentError(f"byte {error.start:,}: no UTF-8 text") from None


class _Expansion:
    """Size of a value that is being read, with aliases written out."""

    __slots__ = ("anchor", "n_characters", "n_values")

    def __init__(self, anchor: str | None, n_characters: int = 0) -> None:
        self.anchor = anchor
        self.n_values = 1
        self.n_characters = n_characters


class _ExpansionCounter:
    """Counts what a document stands for, event by event."""

    def __init__(self) -> None:
        self._open_values = [_Expansion(None)]
        self._by_anchor: dict[str, _Expansion] = {}

    def read(self, event: yaml.Event) -> None:
        # Most events are scalars.
        if isinstance(event, yaml.ScalarEvent):
            self._close(_Expansion(event.anchor, len(event.value)), event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close(self._open_values.pop(), event)
        elif isinstance(event, yaml.AliasEvent):
            self._add(self._resolve(event), event)

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        if len(self._open_values) > MAX_DEPTH:
            raise _out_of_bounds(f"values are nested more than {MAX_DEPTH} times", event.start_mark)
        self._open_values.append(_Expansion(event.anchor))

    def _close(self, size: _Expansion, event: yaml.Event) -> None:
        if size.anchor:
            self._by_anchor[size.anchor] = size
        self._add(size, event)

    def _resolve(self, event: yaml.AliasEvent) -> _Expansion:
        if any(outer.anchor == event.anchor for outer in self._open_values):
            raise _out_of_bounds(
                f"the alias {event.anchor} stands for a value that holds it", event.start_mark
            )
        return self._by_anchor.get(event.anchor or "", _Expansion(None))

    def _add(self, size: _Expansion, event: yaml.Event) -> None:
        """Add a complete value to the one around it."""
        outer = self._open_values[-1]
        outer.n_values += size.n_values
        outer.n_characters += size.n_characters
        if outer.n_values > MAX_VALUES or outer.n_characters > MAX_TEXT:
            raise _out_of_bounds(
                f"expected at most {MAX_VALUES:,} values of {MAX_TEXT:,} characters, aliases "
                "written out",
                event.start_mark,
            )


def _check_expansion(text: str) -> None:
    """Refuse a document that stands for too much, before anything is built from it."""
    counter = _ExpansionCounter()
    for event in yaml.parse(text, _FAST):
        counter.read(event)


def _describe(error: yaml.MarkedYAMLError, text: str) -> DocumentError:
    if isinstance(error, _BoundsError):
        return DocumentBoundsError(_with_mark(error))
    if isinstance(error, _ContentError):
        return DocumentError(_with_mark(error))

    cause = find_cause(error, text)
    if cause is None:
        # To YAML, `password: *secret` is an alias, and the message would repeat it.
        return DocumentError(re.sub("'.*'", "'...'", _with_mark(error)))
    return DocumentError(f"line {cause.line}, column {cause.column}: {cause.words}")


def _with_mark(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = ", ".join(part for part in (error.context, error.problem) if part)
    return f"{place}{' '.join(problem.split())[:300]}"


def _describe_character(error: yaml.reader.ReaderError, text: str) -> str:
    before = text[: error.position]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return (
        f"line {line}, column {column}: a character that cannot be printed "
        f"(U+{_code_of(error.character):04X}); remove it"
    )


def _code_of(character: int | str | bytes) -> int:
    """Libyaml gives a number, PyYAML's own reader the character."""
    return character if isinstance(character, int) else ord(character)


def _invalid(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return _ContentError(problem=problem, problem_mark=mark)


def _given_twice(repeated: list[str], mapping: yaml.MappingNode) -> yaml.MarkedYAMLError:
    """The error of keys that a mapping has more than once, at the second one."""
    name = repeated[0]
    places = [place for place, (key, _) in enumerate(mapping.value) if key.value == name]
    second = places[1]
    key, _ = mapping.value[second]
    owner, value_above = mapping.value[second - 1]

    words = f"the key {', '.join(repeated[:10])} is given twice"
    if mapping.flow_style and name.isdigit():
        words += "; a comma begins a new key, so write numbers without commas"
    elif not mapping.flow_style and value_above.value == "":
        words += f"; if it belongs below {owner.value}, indent it"
    return _invalid(words, key.start_mark)


def _out_of_bounds(problem: str, mark: Any) -> _BoundsError:
    return _BoundsError(problem=problem, problem_mark=mark)
