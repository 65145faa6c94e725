"""A short soak test; `make soak` is the long one."""

import pytest

from tests.faults.soak import soak

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.s3]


@pytest.mark.parametrize("formats", ["delta", "parquet"])
def test_the_table_is_complete_after_random_faults(formats: str) -> None:
    done = soak(seed=7, n_faults=15, n_kills=6, n_days=3, formats=formats)
    assert done.seen["faults"] >= 15
    assert done.seen["kills"] >= 6
