"""YAML and JSON that others wrote: read as plain data, within bounds of size, depth and expansion.

A short YAML file can stand for more values than memory holds, since an alias repeats what its anchor names. Whatever
walks the data afterwards, to look at it, copy it or print it, takes as long as what the file stands for: that is what
is bounded here, before anything is built.
"""

import json
import re
from collections import Counter
from collections.abc import Hashable
from typing import Any

import yaml

MAX_BYTES = 16 << 20
"""The MLmodel file of a model of 100,000 columns has 10 MB."""
MAX_DEPTH = 64
MAX_VALUES = 200_000
"""Keys and values of a YAML file, those that aliases repeat included."""
MAX_TEXT = 64 << 20
"""Characters of all of them."""
MAX_NUMBER = 100
"""Characters of a number, a date or another value that is not a text."""
_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser takes a tenth of the time, where it was built in."""
_TEXT_TAG = "tag:yaml.org,2002:str"
_MISFITS = (ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""What PyYAML's own conversions raise for a value that does not fit its tag."""


class DocumentError(ValueError):
    """What is wrong with a document, and where. It quotes nothing of the values, which may be secrets."""


class DocumentBoundsError(DocumentError):
    """A document that may be well formed, and is larger, deeper or stands for more than is read."""


class _BoundsError(yaml.MarkedYAMLError):
    """The same, with its mark."""


class _Loader(_FAST):  # type: ignore[misc]
    """YAML without surprises: a key given twice is an error, since the first one would be lost."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Hashable, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise _refused("the value is no mapping", node.start_mark)
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        twice = sorted(key for key, times in keys.items() if times > 1)
        if twice:
            raise _refused(f"the key {', '.join(twice[:10])} is given twice", node.start_mark)
        found: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return found

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if (
            isinstance(node, yaml.ScalarNode)
            and node.tag != _TEXT_TAG
            and len(node.value) > MAX_NUMBER
        ):
            raise _refused(
                f"expected at most {MAX_NUMBER} characters unless it is a text", node.start_mark
            )
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except _MISFITS as error:
            kind = node.tag.rpartition(":")[2]
            raise _refused(f"the value is no {kind}", node.start_mark) from error


def read_yaml(content: bytes, max_bytes: int = MAX_BYTES) -> Any:
    """The data of a YAML document.

    Raises:
        DocumentError: It is no YAML, or goes beyond the bounds; names line and column.
    """
    text = _decoded(content, max_bytes)
    try:
        _check_size(text)
        return yaml.load(text, _Loader)  # noqa: S506 (a safe loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        # To YAML, `password: *secret` is an alias, and the message would repeat it.
        if re.search("alias|anchor|tag", problem) and "stands for" not in problem:
            problem = re.sub("'.*'", "'...'", problem)
        kind = DocumentBoundsError if isinstance(error, _BoundsError) else DocumentError
        raise kind(f"{place}{' '.join(problem.split())[:300]}") from None
    except yaml.reader.ReaderError as error:
        raise DocumentError(f"character {error.position + 1:,}: {error.reason}") from None
    except (yaml.YAMLError, *_MISFITS) as error:
        raise DocumentError(f"a value does not fit its type ({type(error).__name__})") from None


def read_json(content: bytes | str, max_bytes: int = MAX_BYTES) -> Any:
    """The data of a JSON document.

    Raises:
        DocumentError: It is no JSON, or goes beyond the bounds.
    """
    text = _decoded(content, max_bytes)
    try:
        found = json.loads(text)
        if "\\ud" in text.lower():
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except UnicodeEncodeError:
        raise DocumentError("a text has half a surrogate pair") from None
    except json.JSONDecodeError as error:
        raise DocumentError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise DocumentBoundsError("values are nested too deep") from None
    except ValueError:
        raise DocumentError("a number has too many digits") from None


def _decoded(content: bytes | str, max_bytes: int) -> str:
    if len(content) > max_bytes:
        raise DocumentBoundsError(f"expected at most {max_bytes:,} bytes, found {len(content):,}")
    if isinstance(content, str):
        return content
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise DocumentError(f"byte {error.start:,}: no UTF-8 text") from None


class _Size:
    """Of a value that is being read: what it stands for, aliases included."""

    def __init__(self, anchor: str | None) -> None:
        self.anchor, self.n_values, self.n_characters = anchor, 1, 0

    def add(self, other: "_Size") -> None:
        self.n_values += other.n_values
        self.n_characters += other.n_characters


def _check_size(text: str) -> None:
    """Refuse what stands for too much, before anything is built of it."""
    open_values = [_Size(None)]
    sizes: dict[str, _Size] = {}
    for event in yaml.parse(text, _FAST):
        if isinstance(event, yaml.CollectionStartEvent):
            if len(open_values) > MAX_DEPTH:
                raise _too_much(f"values are nested more than {MAX_DEPTH} times", event.start_mark)
            open_values.append(_Size(event.anchor))
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            size = open_values.pop()
        elif isinstance(event, yaml.ScalarEvent):
            size = _Size(event.anchor)
            size.n_characters = len(event.value)
        elif isinstance(event, yaml.AliasEvent):
            if any(outer.anchor == event.anchor for outer in open_values):
                raise _too_much(
                    f"the alias {event.anchor} stands for a value that holds it", event.start_mark
                )
            size = sizes.get(event.anchor or "", _Size(None))
        else:
            continue
        if not isinstance(event, yaml.AliasEvent) and size.anchor:
            sizes[size.anchor] = size
        whole = open_values[-1]
        whole.add(size)
        if whole.n_values > MAX_VALUES or whole.n_characters > MAX_TEXT:
            expected = f"expected at most {MAX_VALUES:,} values of {MAX_TEXT:,} characters, aliases written out"
            raise _too_much(expected, event.start_mark)


def _refused(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _too_much(problem: str, mark: Any) -> _BoundsError:
    return _BoundsError(problem=problem, problem_mark=mark)
