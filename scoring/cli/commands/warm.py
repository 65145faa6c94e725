"""`nightscore warm`."""

import time
from pathlib import Path

from nightscore.cli.resolve import load, log_to, model_cache
from nightscore.cli.show import counted, out, print_json
from nightscore.engine.backends.local import WorkerPool
from nightscore.models.cache import ModelCache
from nightscore.operations.warm import Warmed, warm_job, warm_kernels
from nightscore.schemas.job import ScoringJob


def warm(job: str | None, as_json: bool, cache_dir: Path | None, verbose: bool) -> None:
    """Make this host ready for a job, or for models in general, and print what for."""
    log_to(verbose)
    cache = model_cache(cache_dir)
    if job is None:
        _warm_kernels(cache, as_json=as_json)
    else:
        _warm_job(load(job), cache, as_json=as_json)


def _warm_kernels(cache: ModelCache, *, as_json: bool) -> None:
    started = time.perf_counter()
    with WorkerPool() as pool:
        kinds = warm_kernels(pool, cache)
    seconds = time.perf_counter() - started

    if as_json:
        print_json({"kinds": kinds, "seconds": round(seconds, 3)})
    else:
        out.print(f"This host has the machine code of {', '.join(kinds)}, in {seconds:.1f} s.")


def _warm_job(spec: ScoringJob, cache: ModelCache, *, as_json: bool) -> None:
    started = time.perf_counter()
    with WorkerPool() as pool:
        warmed = warm_job(spec, pool, cache)
    seconds = time.perf_counter() - started

    if as_json:
        predictor = warmed.predictor
        print_json(
            {
                "job": spec.name,
                "model": warmed.model,
                "engine": predictor.engine,
                "why": predictor.why,
                "partition": warmed.partition,
                "checked_rows": predictor.checked_rows,
                "unread": warmed.unread,
                "seconds": round(seconds, 3),
            }
        )
        return

    out.print(f"{warmed.model}: {describe(warmed)}")
    out.print(f"This host is ready for {spec.name}, in {seconds:.1f} s; nothing was published.")


def describe(warmed: Warmed) -> str:
    """What will predict, and what is left to the first run."""
    predictor = warmed.predictor
    if predictor.engine == "library":
        return f"its library predicts, because {predictor.why}"

    if predictor.checked_rows:
        rows = counted(predictor.checked_rows, "row")
        return f"machine code predicts; it agrees with the library on {rows} of {warmed.partition}"

    text = "machine code predicts; the first run compares it with the library"
    return f"{text} ({warmed.unread})" if warmed.unread else text
