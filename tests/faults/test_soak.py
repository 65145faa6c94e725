"""A short soak test; `make soak` is the long one, `make faults` one between them."""

import pytest

from tests.faults.soak import soak

pytestmark = [pytest.mark.slow, pytest.mark.s3]


@pytest.mark.parametrize("formats", ["delta", pytest.param("parquet", marks=pytest.mark.thorough)])
def test_the_table_is_complete_after_random_faults(formats: str, thorough: bool) -> None:
    n_faults, n_kills = (15, 6) if thorough else (5, 2)
    done = soak(seed=7, n_faults=n_faults, n_kills=n_kills, n_days=3, formats=formats)
    assert done.seen["faults"] >= n_faults
    assert done.seen["kills"] >= n_kills
