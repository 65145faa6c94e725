"""Arrays are built from buffers as Arrow itself would build them."""

import pytest

from nightscore.arrow.arrays import sparse_numbers


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({}, [None] * 10),
        ({8: 0.5, 1: -2.0}, [None, -2.0, *[None] * 6, 0.5, None]),
        (dict.fromkeys(range(10), 1.0), [1.0] * 10),
    ],
)
def test_numbers_at_some_places_are_null_elsewhere(
    numbers: dict[int, float], expected: list[float | None]
) -> None:
    array = sparse_numbers(numbers, 10)

    array.validate(full=True)
    assert array.to_pylist() == expected
    assert array.null_count == expected.count(None)
