"""Which worker backend a job names.

A new backend is a module of `engine/backends`, its entry in `BACKENDS`, and its name in
`workers.backend` of the job's schema. `tests/contracts/test_worker_backends.py` says what it must
do.
"""

from collections.abc import Callable

from nightscore.engine.pool import Pool
from nightscore.schemas.job import Workers


def _open_loky(workers: Workers) -> Pool:
    from nightscore.engine.backends import local

    return local.open_pool(workers)


def _open_dask(workers: Workers) -> Pool:
    from nightscore.engine.backends import dask

    return dask.open_pool(workers)


def _open_ray(workers: Workers) -> Pool:
    from nightscore.engine.backends import ray

    return ray.open_pool(workers)


BACKENDS: dict[str, Callable[[Workers], Pool]] = {
    "loky": _open_loky,
    "dask": _open_dask,
    "ray": _open_ray,
}
"""How the pool of each backend is opened, by the name that jobs give it. A backend is imported when
a job names it."""


def open_pool(workers: Workers) -> Pool:
    """The pool that a job names. Nothing is started, and no cluster asked, before its first use."""
    return BACKENDS[workers.backend](workers)
