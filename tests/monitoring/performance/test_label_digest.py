"""Digests of labels: the same for the same labels, in whatever order, files and versions."""

import struct
from datetime import date, datetime
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from nightscore.monitoring.performance import label_digest
from nightscore.monitoring.performance.label_digest import content_digest

WORD = 2**64


def labels(n_rows: int = 1_000) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    return pl.DataFrame(
        {
            "key_0": [f"é{i}" * (i % 4) for i in range(n_rows)],
            "key_1": np.arange(n_rows) - 5,
            "label": rng.integers(0, 2, n_rows) * 1.0,
            "known_at": [datetime(2024, 3, 1 + i % 20) if i % 7 else None for i in range(n_rows)],
        }
    )


def test_order_blocks_and_columns_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = labels()
    digest = content_digest(rows)
    monkeypatch.setattr(label_digest, "BLOCK_ROWS", 7)
    monkeypatch.setattr(label_digest, "SLICE_ROWS", 100)
    shuffled = rows.sample(fraction=1, shuffle=True, seed=1).select(reversed(rows.columns))
    assert content_digest(shuffled) == digest
    assert content_digest(rows.with_columns(pl.col("label").cast(pl.Int64))) == digest
    assert content_digest(rows.with_columns(pl.col("key_0").cast(pl.Categorical))) == digest


CHANGES = {
    "a row less": lambda rows: rows[1:],
    "a row twice": lambda rows: pl.concat([rows, rows[:1]]),
    "labels of two rows exchanged": lambda rows: rows.with_columns(label=pl.col("label").reverse()),
    "an empty text for a null": lambda rows: rows.with_columns(
        key_0=pl.when(pl.col("key_0") != "").then("key_0")
    ),
    "a byte of a key": lambda rows: rows.with_columns(pl.col("key_0").str.replace("9", "8")),
    "zeros at the end of a key": lambda rows: rows.with_columns(pl.col("key_0") + "\0"),
    "a moment": lambda rows: rows.with_columns(pl.col("known_at") + pl.duration(microseconds=1)),
    "a column's name": lambda rows: rows.rename({"key_1": "key_2"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_a_digest(name: str) -> None:
    assert content_digest(CHANGES[name](labels())) != content_digest(labels())


def test_it_is_what_its_documentation_says() -> None:
    """Computed a second time without NumPy: another version of a library gives the same."""
    rows = pl.DataFrame(
        {
            "a": ["", "eight by", "über 8 byte", None],
            "b": [0.5, -3.0, None, 1e300],
            "c": [date(1970, 1, 2), date(1969, 12, 31), None, date(2024, 3, 1)],
            "d": [Decimal("1.50"), None, Decimal("-2.00"), Decimal("0.00")],
            "e": [True, False, None, True],
            "f": [b"\xff", b"", None, b"x" * 20],
        },
        schema_overrides={"d": pl.Decimal(10, 2)},
    )
    days = [1, -1, None, 19_783]
    texts = ["1.50", None, "-2.00", "0.00"]
    words = [
        [_words_of(value) for value in column]
        for column in (rows["a"], rows["b"], days, texts, rows["e"], rows["f"])
    ]

    hashes = []
    for row in zip(*words, strict=True):
        value = 0
        for word in (word for column in row for word in column):
            value = _mix(value ^ word)
        hashes.append(value)

    sums = sum(hashes) % WORD, sum(map(_mix, hashes)) % WORD
    text = f"a,b,c,d,e,f|4|{sums[0]}|{sums[1]}"
    assert (
        content_digest(rows) == "2:" + label_digest.hashlib.sha256(text.encode()).hexdigest()[:32]
    )


def _mix(word: int) -> int:
    word = (word + 0x9E3779B97F4A7C15) % WORD
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % WORD
    return word ^ (word >> 31)


def _words_of(value: object) -> list[int]:
    if value is None:
        return [0xD6E8FEB86659FD93]
    if isinstance(value, str | bytes):
        content = value.encode() if isinstance(value, str) else value
        blocks = [content[start : start + 8] for start in range(0, len(content), 8)]
        return [*(int.from_bytes(block, "little") for block in blocks), len(content)]
    if (isinstance(value, float) and not value.is_integer()) or value == 1e300:
        return [struct.unpack("<Q", struct.pack("<d", value))[0]]
    assert isinstance(value, int | float)
    return [int(value) % WORD]
