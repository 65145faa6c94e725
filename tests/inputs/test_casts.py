"""No value passes that would change on its way to the model."""

import datetime as dt
import decimal
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore.inputs.casts import WANTED, Cast, cast_column, feature_cast, passthrough_cast
from nightscore.ledger.output_formats import find_format

NUMERIC = [
    *(
        pa.int8(),
        pa.int16(),
        pa.int32(),
        pa.int64(),
        pa.uint8(),
        pa.uint16(),
        pa.uint32(),
        pa.uint64(),
    ),
    *(pa.float16(), pa.float32(), pa.float64(), pa.bool_()),
]


def values_of(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_boolean(kind):
        return st.booleans()
    if pa.types.is_floating(kind):
        return st.floats(width=kind.bit_width)
    bits = kind.bit_width
    signed = pa.types.is_signed_integer(kind)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.integers(low, high) | st.sampled_from(
        [low, high, min(high, 2**53), min(high, 2**53 + 1)]
    )


@given(
    st.data(),
    st.sampled_from(NUMERIC),
    st.sampled_from(["double", "float", "long", "integer", "boolean"]),
)
def test_a_cast_keeps_every_value_or_says_which_it_does_not(
    data: st.DataObject, kind: pa.DataType, wanted: str
) -> None:
    cast = feature_cast(kind, wanted)  # type: ignore[arg-type]
    values = data.draw(st.lists(st.none() | values_of(kind), max_size=8))
    column = pa.chunked_array([pa.array(values, kind)])
    if isinstance(cast, str):
        assert "type" in cast
        return
    cast_values, bad = cast_column(column, cast)
    assert len(cast_values) == len(values)
    for i, (before, after) in enumerate(zip(values, cast_values.to_pylist(), strict=True)):
        if bad is not None and bad[i]:
            continue
        if before is None:
            assert after is None
        elif isinstance(before, float) and math.isnan(before):
            assert math.isnan(after)
        else:
            assert after == before


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_half_and_single_precision_are_checked_for_whole_numbers_too(kind: pa.DataType) -> None:
    cast = feature_cast(kind, "long")
    assert isinstance(cast, Cast)
    _, bad = cast_column(
        pa.chunked_array([pa.array([1.0, 2.5, None], pa.float32()).cast(kind)]), cast
    )
    assert bad is not None
    assert bad.tolist() == [False, True, False]


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_exactly_the_integers_beyond_2_to_53_are_bad_for_float64(values: list[int | None]) -> None:
    cast = feature_cast(pa.int64(), "double")
    assert isinstance(cast, Cast)
    _, bad = cast_column(pa.chunked_array([pa.array(values, pa.int64())]), cast)
    is_bad = [False] * len(values) if bad is None else bad.tolist()
    assert is_bad == [value is not None and abs(value) > 2**53 for value in values]


@given(st.lists(st.none() | st.floats()))
def test_floats_for_integers_must_be_whole(values: list[float | None]) -> None:
    cast = feature_cast(pa.float64(), "long")
    assert isinstance(cast, Cast)
    _, bad = cast_column(pa.chunked_array([pa.array(values, pa.float64())]), cast)
    is_bad = [False] * len(values) if bad is None else bad.tolist()
    assert is_bad == [
        v is not None and not math.isnan(v) and (math.isinf(v) or v != math.floor(v))
        for v in values
    ]


@pytest.mark.parametrize(
    ("stored", "wanted", "part"),
    [
        (pa.string(), "double", "strings are not read as numbers"),
        (pa.dictionary(pa.int32(), pa.string()), "double", "strings are not read as numbers"),
        (pa.decimal128(9, 2), "float", "decimals become no float"),
        (pa.decimal128(9, 0), "long", "decimals become no int64"),
        (pa.timestamp("us"), "long", "a time is no int64"),
        (pa.date32(), "double", "a time is no double"),
        (pa.float64(), "float", "a cast would round"),
        (pa.float64(), "string", "the model wants string"),
        (pa.int64(), "string", "the model wants string"),
        (pa.int64(), "boolean", "the model wants boolean"),
        (pa.list_(pa.float64()), "double", "the model wants double"),
        (pa.list_(pa.float64()), "any", "cannot use as it is"),
        (pa.duration("s"), "any", "cannot use as it is"),
    ],
)
def test_casts_that_change_the_meaning_are_refused(
    stored: pa.DataType, wanted: str, part: str
) -> None:
    cast = feature_cast(stored, wanted)  # type: ignore[arg-type]
    assert isinstance(cast, str)
    assert part in cast


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("wanted", ["datetime", "any"])
def test_times_keep_their_zone(zone: str, wanted: str) -> None:
    cast = feature_cast(pa.timestamp("us", zone), wanted)  # type: ignore[arg-type]
    assert isinstance(cast, Cast)
    assert cast.type.tz == zone
    cast_values, bad = cast_column(
        pa.chunked_array([pa.array([0, None], pa.timestamp("us", zone))]), cast
    )
    assert (bad, cast_values.type, cast_values.cast(pa.int64()).to_pylist()) == (
        None,
        cast.type,
        [0, None],
    )


DECIMALS = [
    pa.decimal32(9, 2),
    pa.decimal64(18, 6),
    pa.decimal128(15, 2),
    pa.decimal128(18, 0),
    pa.decimal128(38, 18),
]


@pytest.mark.parametrize(
    "kind", [*DECIMALS, pa.decimal128(38, 30), pa.decimal128(6, -3), pa.decimal256(60, 20)], ids=str
)
@given(data=st.data())
def test_a_decimal_becomes_the_nearest_number_or_is_named(
    kind: pa.DataType, data: st.DataObject
) -> None:
    """As Python converts it; it must come back with all its digits."""
    digits = st.integers(0, kind.precision).flatmap(lambda n: st.integers(-(10**n) + 1, 10**n - 1))
    longer = digits.map(lambda n: abs(n) // 10**6 * 10**6)
    drawn = data.draw(st.lists(st.none() | digits | longer, max_size=6))
    with decimal.localcontext(prec=80):
        values = [None if n is None else decimal.Decimal(n).scaleb(-kind.scale) for n in drawn]
        array = pa.array([None, *values], pa.decimal256(76, kind.scale)).cast(kind).slice(1)
        cast = feature_cast(kind, "double")
        assert isinstance(cast, Cast)
        cast_values, bad = cast_column(pa.chunked_array([array], kind), cast)
        rows = [False] * len(values) if bad is None else bad.tolist()
        for value, number, is_bad in zip(values, cast_values.to_pylist(), rows, strict=True):
            if value is None:
                assert (number, is_bad) == (None, False)
                continue
            comes_back = decimal.Decimal(repr(float(value))) == value
            assert is_bad is not comes_back
            assert number == (float(value) if comes_back else None)


@given(st.lists(st.none() | st.floats() | st.sampled_from([2.0**63, -(2.0**63), 2.0**31, 3.0])))
def test_whole_floating_numbers_become_integers_where_these_are_needed(
    values: list[float | None],
) -> None:
    column = pa.chunked_array([pa.array(values, pa.float64())])
    for kind in (pa.int64(), pa.int32()):
        cast_values, bad = cast_column(column, Cast(kind, "integral"))
        bound = 2 ** (kind.bit_width - 1)
        for i, value in enumerate(values):
            if value is None or math.isnan(value):
                assert cast_values[i].as_py() is None
                assert bad is None or not bad[i]
            elif math.isinf(value) or value != math.floor(value) or not -bound <= value < bound:
                assert bad is not None
                assert bad[i]
            else:
                assert cast_values[i].as_py() == value


@pytest.mark.parametrize("wanted", sorted(WANTED))
def test_a_type_casts_to_itself_and_from_null(wanted: str) -> None:
    target = WANTED[wanted]  # type: ignore[index]
    assert feature_cast(target, wanted) == Cast(target)  # type: ignore[arg-type]
    assert feature_cast(pa.null(), wanted) == Cast(target)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "encoded", [pa.large_string(), pa.dictionary(pa.int8(), pa.string()), pa.string_view()]
)
def test_encodings_of_strings_are_strings(encoded: pa.DataType) -> None:
    cast = feature_cast(encoded, "string")
    assert cast == Cast(pa.string())
    column = pa.chunked_array([pa.array(["a", None, "b"]).cast(encoded)])
    cast_values, bad = cast_column(column, cast)
    assert (cast_values.to_pylist(), bad) == (["a", None, "b"], None)


def test_days_become_moments() -> None:
    cast = feature_cast(pa.date32(), "datetime")
    assert isinstance(cast, Cast)
    cast_values, bad = cast_column(pa.chunked_array([pa.array([dt.date(2024, 2, 29)])]), cast)
    assert bad is None
    assert cast_values.cast(pa.timestamp("s")).to_pylist() == [dt.datetime(2024, 2, 29)]


def test_nanoseconds_that_a_delta_table_cannot_hold_are_bad() -> None:
    cast = passthrough_cast(pa.timestamp("ns"), find_format("delta"))
    assert isinstance(cast, Cast)
    _, bad = cast_column(pa.chunked_array([pa.array([1_000, 1_001], pa.timestamp("ns"))]), cast)
    assert bad is not None
    assert bad.tolist() == [False, True]


@pytest.mark.parametrize("kind", [pa.list_(pa.int64()), pa.duration("s"), pa.time64("us")])
def test_what_a_delta_table_cannot_hold_is_refused(kind: pa.DataType) -> None:
    assert isinstance(passthrough_cast(kind, find_format("delta")), str)
