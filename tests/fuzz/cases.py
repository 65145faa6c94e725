"""Which input a number stands for: a seed, changed by one to three steps that the number draws."""

import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import mutations as change
from tests.fuzz.mutations import Rng
from tests.fuzz.seeds import TARGETS

MAX_STEPS = 3
RAW = 0.2
"""Of the steps: bytes are changed, whatever they mean."""
WORDS = (
    "&a", "*a", "<<: *a", "!!int x", "? [a]", "- -", "{", "[" * 80, "!!timestamp 1", "1:1:1", "'", "a: b", "!!map x",
    "\t", "---", "&a [*a]", "!!set {a}", "!!omap [a: 1]", "0x" + "f" * 90, "2024-99-99", "%YAML 9", "| \n x",
)  # fmt: skip
"""Of YAML."""


@dataclass(frozen=True)
class Case:
    """One input."""

    seed_name: str
    files: dict[str, bytes]
    n_steps: int


def read_files(folder: Path) -> dict[str, bytes]:
    """Of a seed, or of a case that was kept."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.name != "find.json"
    }


def read_seeds(root: Path, target: str) -> dict[str, dict[str, bytes]]:
    """Of a target: by name, its files."""
    return {folder.name: read_files(folder) for folder in sorted((root / target).iterdir())}


def make_case(
    seeds: Mapping[str, dict[str, bytes]],
    target: str,
    seed: int,
    index: int,
    only_step: int | None = None,
) -> Case:
    """The input of a number, or what one of its steps alone makes of its seed."""
    rng = np.random.default_rng([seed, TARGETS.index(target), index])
    name = change.pick(rng, sorted(seeds))
    files = dict(seeds[name])
    n_steps = int(rng.integers(1, MAX_STEPS + 1))
    streams = rng.spawn(n_steps)
    for i in range(n_steps):
        if only_step is None or i == only_step:
            _step(streams[i], target, files)
    return Case(name, files, n_steps)


def _step(rng: Rng, target: str, files: dict[str, bytes]) -> None:
    path = _changed_file(rng, target, files)
    content = files[path]
    if target == "footers":
        files[path] = _footer(rng, content)
        return
    if rng.random() < RAW or path in ("weights.bin", "requirements.txt"):
        files[path] = change.change_bytes(rng, content)
        return
    kind = CHANGES[target]
    try:
        files[path] = kind(rng, content)
    except Exception:
        # An earlier step has left nothing that has this structure.
        files[path] = change.change_bytes(rng, content)


def _changed_file(rng: Rng, target: str, files: dict[str, bytes]) -> str:
    if target == "mlmodel":
        main = "job.yaml" if "job.yaml" in files else "MLmodel"
        return main if rng.random() < 0.9 else str(change.pick(rng, sorted(files)))
    if "weights.bin" in files and rng.random() < 0.1:
        return "weights.bin"
    (path,) = [name for name in files if name not in ("MLmodel", "weights.bin", "facts.json")]
    return path


def _json(rng: Rng, content: bytes) -> bytes:
    return change.as_json(change.change_document(rng, json.loads(content)))


def _ubjson(rng: Rng, content: bytes) -> bytes:
    from nightscore.models.structure.xgboost_file import read_xgboost

    document = {"learner": read_xgboost(content).learner, "version": [3, 1, 0]}
    return change.as_ubjson(change.change_document(rng, document))


def _lines(rng: Rng, content: bytes) -> bytes:
    text = change.change_lines(rng, content.decode(errors="replace"))
    if rng.random() < 0.8:  # sizes of trees that no longer hold hide every other change
        text = "\n".join(line for line in text.split("\n") if not line.startswith("tree_sizes="))
    return text.encode(errors="replace")


def _protobuf(rng: Rng, content: bytes) -> bytes:
    import onnx

    try:
        model = onnx.ModelProto.FromString(content)
        change.change_message(rng, model)
        return bytes(model.SerializeToString())
    except Exception as error:  # the parser's own
        raise ValueError from error


def _yaml(rng: Rng, content: bytes) -> bytes:
    """Of the data, or of the text, with words that mean something to YAML."""
    import yaml

    if rng.random() < 0.5:
        document = yaml.safe_load(content)
        signature = document.get("signature") if isinstance(document, dict) else None
        if isinstance(signature, dict) and rng.random() < 0.4:
            side = change.pick(rng, ("inputs", "outputs"))
            signature[side] = _json(rng, signature[side].encode()).decode()
        else:
            document = change.change_document(rng, document)
        return yaml.safe_dump(document, allow_unicode=True).encode(errors="replace")
    lines = content.decode(errors="replace").split("\n")
    i = int(rng.integers(len(lines)))
    key, colon, value = lines[i].partition(":")
    word = change.pick(rng, WORDS)
    ways = (f"{key}{colon} {word}", f"{key}{colon} {word} {value}", f"{lines[i]}\n{lines[i]}", word)
    lines[i] = change.pick(rng, ways)
    return "\n".join(lines).encode(errors="replace")


def _skops(rng: Rng, content: bytes) -> bytes:
    """Of the tree of nodes, or of one of the arrays."""
    source = zipfile.ZipFile(io.BytesIO(content))
    members = {name: source.read(name) for name in source.namelist()}
    arrays = [name for name in members if name.endswith(".npy")]
    if arrays and rng.random() < 0.5:
        name = change.pick(rng, arrays)
        array = np.load(io.BytesIO(members[name]), allow_pickle=False)
        buffer = io.BytesIO()
        np.save(buffer, change.change_array(rng, np.atleast_1d(array)), allow_pickle=False)
        members[name] = buffer.getvalue()
    else:
        members["schema.json"] = _json(rng, members["schema.json"])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, inner in members.items():
            archive.writestr(zipfile.ZipInfo(name), inner)
    return out.getvalue()


def _form(rng: Rng, content: bytes) -> bytes:
    """Of the fields or the arrays, with the checksum of what came of it."""
    from nightscore.models.compiled.flat import ALIGNMENT, DIGEST_BYTES

    end = content.index(b"\n")
    document = json.loads(content[DIGEST_BYTES:end])
    start = -(-(end + 1) // ALIGNMENT) * ALIGNMENT
    blob = bytearray(content[start:])
    if rng.random() < 0.6 and document["arrays"]:
        kind, shape, place = change.pick(rng, document["arrays"])
        n_bytes = int(np.prod(shape)) * np.dtype(kind).itemsize
        array = np.frombuffer(bytes(blob[place : place + n_bytes]), np.dtype(kind))
        changed = change.change_array(rng, array.copy()).tobytes()[:n_bytes]
        blob[place : place + len(changed)] = changed
    else:
        document = change.change_document(rng, document)
    text = json.dumps(document).encode() + b"\n"
    text += b"\0" * (-(DIGEST_BYTES + len(text)) % ALIGNMENT)
    rest = text + bytes(blob)
    return hashlib.sha256(rest).hexdigest().encode() + rest


def _footer(rng: Rng, content: bytes) -> bytes:
    """Of the footer's fields, its bytes, its length, or the bytes before it."""
    from nightscore.arrow.parsing.thrift import read_struct, write_struct

    kind = rng.random()
    size = int.from_bytes(content[-8:-4], "little")
    if len(content) < 12 + size or kind < 0.1:
        return change.change_bytes(rng, content)
    body, footer = content[: -8 - size], content[-8 - size : -8]
    if kind < 0.55:
        try:
            struct_ = read_struct(footer)
            _change_thrift(rng, struct_)
            footer = write_struct(struct_)
        except Exception:  # nothing that is written so
            footer = change.change_bytes(rng, footer)
    else:
        footer = change.change_bytes(rng, footer)
    stated = (
        len(footer)
        if rng.random() < 0.95
        else int(abs(change.pick(rng, change.INTEGERS))) & 0xFFFFFFFF
    )
    return body + footer + struct.pack("<I", stated) + content[-4:]


def _change_thrift(rng: Rng, struct_: Any) -> None:
    """One change of a field anywhere in a struct of Thrift."""
    from nightscore.arrow.parsing.thrift import Items

    fields: list[tuple[Any, Any]] = []
    waiting = [struct_]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            for key, (_, value) in part.items():
                fields.append((part, key))
                waiting.append(value)
        elif isinstance(part, Items):
            fields += [(part.values, i) for i in range(len(part.values))]
            waiting += part.values
    holder, key = change.pick(rng, fields)
    if rng.random() < 0.15:
        del holder[key]
    elif isinstance(holder, dict):
        kind, value = holder[key]
        holder[key] = (kind, _thrift_value(rng, value))
    else:
        holder[key] = _thrift_value(rng, holder[key])


def _thrift_value(rng: Rng, value: Any) -> Any:
    from nightscore.arrow.parsing.thrift import Items

    if isinstance(value, Items):
        values = list(value.values)
        if values:
            change.change_list(rng, values)
        return Items(value.kind, values)
    if isinstance(value, bool | int | bytes):
        changed = change.change_scalar(rng, value)
        return changed if type(changed) is type(value) else value
    return value


CHANGES: dict[str, Callable[[Rng, bytes], bytes]] = {
    "mlmodel": _yaml,
    "onnx": _protobuf,
    "lightgbm": _lines,
    "xgboost-ubj": _ubjson,
    "xgboost-json": _json,
    "skops": _skops,
    "forms": _form,
}
