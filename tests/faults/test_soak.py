"""A short soak test; `make soak` is the long one, `make faults` one between them."""

import pytest

from tests.faults.soak import soak
from tests.support.models import KnownModel

pytestmark = [pytest.mark.slow, pytest.mark.s3]


@pytest.mark.parametrize("formats", ["delta", pytest.param("parquet", marks=pytest.mark.thorough)])
def test_the_table_is_complete_after_random_faults(
    formats: str, thorough: bool, registry: str, models: dict[str, KnownModel]
) -> None:
    n_faults, n_kills, n_days = (15, 6, 3) if thorough else (5, 2, 2)
    done = soak(
        seed=7,
        n_faults=n_faults,
        n_kills=n_kills,
        n_days=n_days,
        formats=formats,
        registered=(registry, models),
    )
    assert done.seen["faults"] >= n_faults
    assert done.seen["kills"] >= n_kills
