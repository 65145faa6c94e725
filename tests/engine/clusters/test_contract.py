"""Dask and Ray keep the contract of worker backends: here, where the clusters have started already."""

import pytest

from nightscore.schemas.job import Workers
from tests.contracts.test_worker_backends import (  # noqa: F401 (tests and fixtures)
    opened,
    own_pool,
    small_shards,
    test_a_call_gives_what_the_function_gives,
    test_a_pool_that_is_stopped_stays_stopped_and_says_why,
    test_a_run_scores_each_row_once_and_as_local_processes_do,
    test_an_error_of_ours_comes_back_as_it_was_raised,
    test_no_shards_have_no_results,
    test_there_is_room_for_a_shard,
    test_what_is_killed_can_be_used_again,
)
from tests.engine.clusters.conftest import RunningCluster

pytestmark = [pytest.mark.s3, pytest.mark.slow]


@pytest.fixture(scope="module", params=["dask", "ray"])
def workers(request: pytest.FixtureRequest) -> Workers:
    """The `workers` of a job for each kind of cluster."""
    running: RunningCluster = request.getfixturevalue(request.param)
    return Workers(**running.spec())
