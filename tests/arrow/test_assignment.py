"""Assignment of rows to the challenger's arm: stable, monotone, even, and reproducible elsewhere."""

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore.arrow.assignment import Assignment, assignment_problems
from tests.support.plain_hashes import plain_assignment

N_SALTS, N_KEYS, N_BINS = 1_000, 2_000, 16
CHI_SQUARED_5_PERCENT = 24.996
"""Of 15 degrees of freedom."""

GOLDEN: dict[str, tuple[pa.Array, list[int]]] = {
    "integer": (pa.array(range(24)), [0, 8, 17, 20]),
    "text": (pa.array([f"C-{number}" for number in range(24)]), [3, 10, 15, 22, 23]),
    "date": (pa.array([date(2026, 11, 1 + number) for number in range(24)]), [1, 5, 9, 12, 13, 22]),
}
"""Which of the rows the challenger scores, of a share of 0.25 and the salt 2026-11."""


def arm_of(share: float, column: pa.Array, salt: str = "2026-11") -> list[bool]:
    """Which keys are in the challenger's arm."""
    arm: list[bool] = assignment(share, salt=salt).arm(pa.table({"key": column})).tolist()
    return arm


def assignment(share: float, salt: str = "2026-11", *by: str) -> Assignment:
    return Assignment(by=by or ("key",), salt=salt, share=share)


@pytest.mark.parametrize("kind", GOLDEN)
def test_keys_are_in_the_same_arm_for_ever(kind: str) -> None:
    keys, expected = GOLDEN[kind]
    assert np.flatnonzero(arm_of(0.25, keys)).tolist() == expected


KEYS = {
    "integers": [0, 7, -7, 2**63 - 1, None],
    "floats": [0.5, -0.0, math.nan, math.inf, 1e300],
    "texts": ["C-1042", "", "Zo\u00eb", "Zoe\u0308", " C-1042", "x" * 40],
    "bytes": [b"", b"\x00", bytes(range(33))],
    "decimals": [Decimal("1.50"), Decimal("0.05"), Decimal("-12.00"), Decimal(0)],
    "dates": [date(1969, 12, 31), date(2026, 12, 1)],
    "times": [datetime(2026, 12, 1, 12, tzinfo=UTC), datetime(1969, 12, 31, 23, tzinfo=UTC)],
    "booleans": [True, False],
}


@pytest.mark.parametrize("kind", KEYS)
def test_plain_python_puts_keys_into_the_same_arm(kind: str) -> None:
    keys = KEYS[kind]
    column = pa.array(keys)

    for salt in map(str, range(20)):
        expected = [plain_assignment(salt, [key], 0.4) for key in keys]
        assert arm_of(0.4, column, salt) == expected


def test_plain_python_puts_composite_keys_into_the_same_arm() -> None:
    numbers, texts = list(range(50)), [f"C-{number % 7}" for number in range(50)]
    rows = pa.table({"number": numbers, "text": texts})

    expected = [plain_assignment("s", keys, 0.5) for keys in zip(numbers, texts, strict=True)]
    assert assignment(0.5, "s", "number", "text").arm(rows).tolist() == expected
    assert assignment(0.5, "s", "text", "number").arm(rows).tolist() != expected


def test_what_holds_a_key_does_not_count() -> None:
    numbers = list(range(300))
    expected = arm_of(0.3, pa.array(numbers))
    assert arm_of(0.3, pa.array(numbers, pa.int16())) == expected
    assert arm_of(0.3, pa.array(numbers, pa.uint64()).dictionary_encode()) == expected

    utc = [datetime(2026, 11, 1 + number, 23, tzinfo=UTC) for number in range(28)]
    new_york = [time.astimezone(ZoneInfo("America/New_York")) for time in utc]
    expected = arm_of(0.3, pa.array(utc))
    assert arm_of(0.3, pa.array(new_york, pa.timestamp("s", "America/New_York"))) == expected


@given(
    keys=st.lists(st.one_of(st.none(), st.text(max_size=40)), min_size=1, max_size=20),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    salt=st.text(max_size=10),
    cut=st.integers(0, 20),
)
def test_shares_are_monotone_and_parts_do_not_count(
    keys: list[str | None], shares: tuple[float, float], salt: str, cut: int
) -> None:
    column = pa.array(keys, pa.string())
    smaller = np.array(arm_of(min(shares), column, salt))
    greater = np.array(arm_of(max(shares), column, salt))

    assert (smaller <= greater).all()
    parts = [*arm_of(max(shares), column[:cut], salt), *arm_of(max(shares), column[cut:], salt)]
    assert parts == greater.tolist()


def test_no_share_is_no_row_and_the_whole_is_every_row() -> None:
    keys = pa.array(range(1_000))
    assert not any(arm_of(0.0, keys)) and all(arm_of(1.0, keys))
    assert arm_of(0.5, keys[:0]) == []


def test_keys_are_spread_evenly_over_a_thousand_salts() -> None:
    keys = pa.table({"key": pa.array(range(N_KEYS))})
    shares = np.arange(1, N_BINS) / N_BINS
    n_rejected, z_scores = 0, []

    for salt in map(str, range(N_SALTS)):
        counts = _counts(keys, salt)
        expected = N_KEYS / N_BINS
        n_rejected += ((counts - expected) ** 2 / expected).sum() > CHI_SQUARED_5_PERCENT

        below = np.cumsum(counts)[:-1]
        z_scores.append((below - N_KEYS * shares) / np.sqrt(N_KEYS * shares * (1 - shares)))

    # Of a true uniform distribution 5 % are rejected: within 4 sigma of it.
    sigma = math.sqrt(N_SALTS * 0.05 * 0.95)
    assert abs(n_rejected - 0.05 * N_SALTS) < 4 * sigma

    # Of 15,000 normal variables one beyond 4 sigma is to be expected.
    scores = np.array(z_scores)
    assert (np.abs(scores) > 4).sum() <= 6
    assert abs(scores[:, N_BINS // 2 - 1].mean()) < 4 / math.sqrt(N_SALTS)


def _counts(keys: pa.Table, salt: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """How many keys are in each sixteenth."""
    from nightscore.arrow.assignment import salt_hash
    from nightscore.arrow.row_hashes import row_hashes

    hashes = row_hashes([keys.column("key")], salt_hash(salt))
    return np.bincount((hashes >> np.uint64(60)).astype(np.int64), minlength=N_BINS)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_the_share_is_kept(share: float) -> None:
    n = 200_000
    n_assigned = sum(arm_of(share, pa.array(np.arange(n))))
    assert abs(n_assigned - share * n) < 4 * math.sqrt(n * share * (1 - share))


def test_arms_of_two_salts_are_independent() -> None:
    keys = pa.array(np.arange(100_000))
    both = np.array(arm_of(0.5, keys, "a")) & np.array(arm_of(0.5, keys, "b"))
    assert abs(both.sum() - 25_000) < 4 * math.sqrt(100_000 * 0.25 * 0.75)


FLAGD: list[tuple[str, dict[str, str], list[str]]] = [
    (
        "fractional-flag",
        {"jack": "hearts", "queen": "spades", "ten": "clubs", "nine": "diamonds", "3": "clubs"},
        ["clubs", "diamonds", "hearts", "spades"],
    ),
    (
        "shared-seed",
        {"seven": "hearts", "eight": "diamonds", "nine": "clubs", "two": "spades"},
        ["clubs", "diamonds", "hearts", "spades"],
    ),
    (
        "fractional-flag-shorthand",
        {"jon@company.com": "heads", "jane@company.com": "tails"},
        ["heads", "tails"],
    ),
    (
        "",
        {
            "ejOoVL": "lower",
            "bY9fO-": "lower",
            "SI7p-": "lower",
            "6LvT0": "upper",
            "ceQdGm": "upper",
        },
        ["lower", "upper"],
    ),
]
"""Of flagd's own tests (flagd-testbed, `fractional.feature`, tag `fractional-v2`): what is hashed
before the key, the variant of each key, and all variants, of equal weights."""


@pytest.mark.parametrize(("salt", "variant_of", "variants"), FLAGD)
def test_keys_are_where_flagd_puts_them(
    salt: str, variant_of: dict[str, str], variants: list[str]
) -> None:
    rows = pa.table({"key": list(variant_of)})

    for count in range(1, len(variants)):
        flagd = Assignment(by=("key",), salt=salt, share=count / len(variants), hash="flagd")
        expected = [variant in variants[:count] for variant in variant_of.values()]
        assert flagd.arm(rows).tolist() == expected


def test_flagd_assigns_integers_as_texts_and_null_to_the_champion() -> None:
    flagd = Assignment(by=("key",), salt="f", share=0.5, hash="flagd")
    numbers = pa.array([*range(40), None])
    texts = numbers.cast(pa.string()).dictionary_encode()

    arm = flagd.arm(pa.table({"key": numbers}))
    assert arm.tolist() == flagd.arm(pa.table({"key": texts})).tolist()
    assert 10 < arm.sum() < 30 and not arm[-1]
    assert (
        not Assignment(by=("key",), salt="f", share=1.0, hash="flagd")
        .arm(pa.table({"key": [None]}, pa.schema({"key": pa.string()})))
        .any()
    )


def test_every_problem_of_an_assignment_is_told() -> None:
    schema = pa.schema({"list": pa.list_(pa.int8()), "took": pa.duration("s"), "f": pa.float64()})
    rule = assignment(0.1, "s", "list", "gone", "took", "f")
    assert assignment_problems(rule, schema) == [
        "Rows are assigned by 'gone', which the input does not have.",
        "Rows cannot be assigned by 'list', which is list<item: int8>: keys are integers, floats, "
        "booleans, decimals, dates, timestamps, texts or bytes.",
        "Rows cannot be assigned by 'took', which is duration[s]: keys are integers, floats, "
        "booleans, decimals, dates, timestamps, texts or bytes.",
    ]
    flagd = Assignment(by=("f", "f"), salt="", share=0.1, hash="flagd")
    assert assignment_problems(flagd, schema)[-1].startswith("flagd assigns by one key")
    assert len(assignment_problems(flagd, schema)) == 3
