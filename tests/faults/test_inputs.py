"""Corrupt, malicious and odd inputs: each is scored as it is, or refused with the file and the reason named."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.schemas.manifest import Manifest
from tests.faults.conftest import DAY, ONE_FORMAT, PARQUET_IF_THOROUGH, SEED, Lab
from tests.faults.invariants import check_error
from tests.support.lake import Lake
from tests.support.models import KnownModel, make_frame

Tell = Callable[[str, str, Manifest | str], None]
FLIPS, ALL_FLIPS = 10, 25
"""Bits, and in a thorough run."""


def input_file(lab: Lab, name: str = "p1.parquet") -> Path:
    return Path(lab.lake.root) / "features" / f"ds={DAY}" / name


def damaged(
    lab: Lab, report: Tell, what: str, content: bytes, *, is_quiet: bool = False
) -> Manifest:
    """Run with one file spoilt; then with the file as it was."""
    path = input_file(lab)
    whole = path.read_bytes()
    path.write_bytes(content)
    manifest = lab.score()
    if not is_quiet:
        report("corrupt input", what, manifest)
    if manifest.error:
        assert manifest.error.type in (
            "CorruptFileError",
            "ContractError",
            "InputError",
            "MemoryLimitError",
        ), manifest.error
        check_error(manifest)
        assert "p1.parquet" in manifest.error.message
        assert lab.check() == {DAY: 0}
    path.write_bytes(whole)
    return manifest


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "one byte": lambda content: b"P",
    "only the magic bytes": lambda content: b"PAR1PAR1",
    "text": lambda content: b"flight,delay\n1,2\n" * 100,
    "cut in half": lambda content: content[: len(content) // 2],
    "without its last byte": lambda content: content[:-1],
    "without its first half": lambda content: content[len(content) // 2 :],
    "footer length of 4 GiB": lambda content: content[:-8] + b"\xff\xff\xff\xff" + content[-4:],
    "footer length 0": lambda content: content[:-8] + b"\0\0\0\0" + content[-4:],
    "footer of zeros": lambda content: content[:-2_000] + b"\0" * 1_992 + content[-8:],
    "pages of zeros": lambda content: (
        content[:4] + b"\0" * (len(content) // 2) + content[4 + len(content) // 2 :]
    ),
    "encrypted": lambda content: content[:-4] + b"PARE",
    "another file's end": lambda content: content + content[:-4],
}


@PARQUET_IF_THOROUGH
@pytest.mark.parametrize("what", SPOILT)
def test_a_spoilt_file_is_named(lab: Lab, report: Tell, what: str) -> None:
    lab.begin()
    manifest = damaged(lab, report, what, SPOILT[what](input_file(lab).read_bytes()))
    assert manifest.error
    lab.settle()


@pytest.mark.slow
@ONE_FORMAT
def test_flipped_bits_are_never_scored(lab: Lab, report: Tell, thorough: bool) -> None:
    """In files that carry checksums of their pages; the footer has none, so it is left alone."""
    lab.begin()
    rng = random.Random(SEED)
    content = input_file(lab).read_bytes()
    footer = int.from_bytes(content[-8:-4], "little") + 8
    n_refused, n_flips = 0, ALL_FLIPS if thorough else FLIPS
    for _ in range(n_flips):
        changed = bytearray(content)
        changed[rng.randrange(4, len(content) - footer)] ^= 1 << rng.randrange(8)
        manifest = damaged(lab, report, "", bytes(changed), is_quiet=True)
        n_refused += manifest.error is not None
        if (
            manifest.error is None
        ):  # in a column or a header that nobody reads: all is as it should be
            lab.inputs[DAY] = lab.inputs[DAY][-1:]
            assert lab.check() == {DAY: 0}
            lab.lake.run(lab.job, DAY, force=True)
    report(
        f"bit flips ({lab.lake.formats})",
        f"{n_flips} in pages",
        f"{n_refused} refused, none scored wrongly",
    )
    assert n_refused > n_flips // 2


@pytest.mark.slow
@ONE_FORMAT
@pytest.mark.parametrize(
    ("limit", "megabytes"), [(None, 4), (512 << 20, 50)], ids=["no limit", "512 MiB"]
)
def test_a_decompression_bomb(
    lab: Lab, report: Tell, monkeypatch: pytest.MonkeyPatch, limit: int | None, megabytes: int
) -> None:
    """A column of equal values: kilobytes that decode to gigabytes, in pages of as much as a writer can be told."""
    if limit is None:  # the machine's memory is the limit; a small machine is as full, and sooner
        monkeypatch.setattr("nightscore.runs.dispatch.available_bytes", lambda: 256 << 20)
    lab.begin()
    changes = {"limits": {"memory_bytes": limit}} if limit else {}
    n_rows = 100_000 // megabytes
    text = pa.array(["x" * (megabytes * 1_000_000)])
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n_rows, np.int32)), text)
    table = pa.table(
        {name: np.zeros(n_rows) for name in ("a", "b", "c", "d", "e")} | {"id": np.arange(n_rows)}
    )
    bomb = table.append_column("color", column)
    pq.write_table(
        bomb, input_file(lab), compression="zstd", write_page_checksum=True, store_schema=False
    )
    assert input_file(lab).stat().st_size < 1 << 20
    lab.changes = changes | {"pass_through": ["color"]}
    manifest = lab.score()
    report(f"decompression bomb ({lab.lake.formats})", "kilobytes that decode to 100 GB", manifest)
    assert manifest.error
    assert manifest.error.type in ("MemoryLimitError", "ContractError")
    check_error(manifest)
    lab.changes = {}
    assert lab.check() == {DAY: 0}
    lab.write(make_frame(500, seed=4))
    lab.settle()


@PARQUET_IF_THOROUGH
def test_very_wide(lab: Lab, report: Tell) -> None:
    lab.begin(300)
    frame = make_frame(300, seed=5)
    extra = pd.DataFrame(np.zeros((300, 3_000)), columns=[f"column_{i}" for i in range(3_000)])
    lab.write(pd.concat([frame, extra], axis=1), n_files=1)
    for name in ("p1.parquet", "p2.parquet"):
        input_file(lab, name).unlink()
    manifest = lab.score()
    report(f"very wide ({lab.lake.formats})", "3,000 columns that nobody asked for", manifest)
    assert manifest.status == "published"
    lab.settle()


@pytest.mark.slow
@ONE_FORMAT
def test_very_many_files(lab: Lab, report: Tell, thorough: bool) -> None:
    n_files = 2_000 if thorough else 500
    lab.begin(4_000)
    lab.write(make_frame(2 * n_files, seed=6), n_files=n_files)
    manifest = lab.score()
    report(f"very many files ({lab.lake.formats})", f"{n_files:,} of two rows", manifest)
    assert manifest.status == "published"
    assert manifest.measures.n_shards < 20
    lab.settle()


def test_odd_names(lab: Lab, report: Tell) -> None:
    lab.begin(300)
    frame = make_frame(300, seed=7)
    for entry in lab.lake.features.list_files():
        lab.lake.features.delete([entry.path])
    names = ["a b", "ü%20", "plus+and&", "quote'\"", "dots..", "=", "a" * 150, "new\nline", "(1)"]
    for i, name in enumerate(names):
        lab.lake.write(DAY, frame.iloc[i * 300 // len(names) : (i + 1) * 300 // len(names)], name)
    lab.inputs[DAY].append(frame)
    manifest = lab.score()
    report(f"odd names ({lab.lake.formats})", f"{len(names)} files", manifest)
    assert manifest.status == "published"
    lab.settle()


def test_poison_rows_cost_themselves_only(lab: Lab, report: Tell) -> None:
    lab.changes = {
        "limits": {"max_quarantined_rows": 1_000},
        "policy": {"missing": "quarantine", "infinite": "quarantine", "overflow": "quarantine"},
    }
    lab.begin()
    frame = make_frame(2_000, seed=8)
    rng = np.random.default_rng(SEED)
    for value in (None, np.inf, -np.inf, 1e300, np.nan):
        frame.loc[rng.choice(2_000, 20, replace=False), rng.choice(list("abcde"))] = value
    lab.write(frame)
    manifest = lab.score()
    report(f"poison rows ({lab.lake.formats})", "missing, infinite, overflowing values", manifest)
    assert manifest.status == "published"
    assert 50 < manifest.counts.rows_quarantined <= 100
    lab.settle()


@pytest.mark.parametrize("value", ["007", "a b", "ü", "%2F", "x=y", "1e5", "null"])
def test_odd_partition_values(lake: Lake, models: dict[str, KnownModel], value: str) -> None:
    from nightscore.schemas.partition import encode_folder

    frame = make_frame(20)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    with lake.features.open_output(f"{encode_folder('ds', value)}/p.parquet") as file:
        pq.write_table(table, file)
    manifest = lake.run(lake.job(), value)
    assert manifest.error is None, manifest.error
    assert set(lake.read(lake.job())["ds"]) == {value}


@pytest.mark.slow
@ONE_FORMAT
def test_very_long(lab: Lab, report: Tell) -> None:
    lab.begin(300)
    for name in ("p1.parquet", "p2.parquet"):
        input_file(lab, name).unlink()
    frame = make_frame(1_000_000, seed=10)
    pq.write_table(
        pa.Table.from_pandas(frame), input_file(lab, "p0.parquet"), row_group_size=len(frame)
    )
    lab.inputs[DAY].append(frame)
    manifest = lab.score()
    peak = max(manifest.measures.peak_worker_bytes, default=0) >> 20
    report(
        f"very long ({lab.lake.formats})",
        "a million rows in one row group",
        f"{manifest.status}, peak {peak} MiB",
    )
    assert manifest.status == "published"
    lab.settle()
