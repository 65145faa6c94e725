"""Offline batch scoring with pinned MLflow models: Parquet in, predictions out.

    import nightscore

    job = nightscore.load_job("flight_delay.yaml")
    manifest = nightscore.run(job, "2026-11-24")
    table = nightscore.read_predictions(job, "2026-11-24")

In a notebook, `nightscore.Job("flight_delay.yaml").run("2026-11-24")` shows a table.

Importing the package costs nothing: each name below is imported when it is first used.
"""

import importlib

if __name__ != "nightscore":
    from nightscore.schemas.import_name import refuse_folder_name

    refuse_folder_name(__name__, "nightscore")

TYPE_CHECKING = False  # what type checkers take for true; importing `typing` would cost start-up
if TYPE_CHECKING:
    from nightscore.engine.pool import Pool
    from nightscore.errors import ScoringError
    from nightscore.inputs.jobfile import load_job, parse_job
    from nightscore.operations.api import (
        backfill,
        open_pool,
        plan,
        plan_backfill,
        read_manifests,
        read_predictions,
        record_baseline,
        run,
    )
    from nightscore.operations.backfill import BackfillItem, BackfillPlan
    from nightscore.operations.baseline import Baseline
    from nightscore.operations.notebook import Job, JobRun, JobRuns, Report
    from nightscore.operations.notebook_performance import Evaluations, PerformancePage
    from nightscore.operations.plan import PlannedRun
    from nightscore.schemas.job import ScoringJob
    from nightscore.schemas.manifest import Manifest

__all__ = [
    "BackfillItem",
    "BackfillPlan",
    "Baseline",
    "Evaluations",
    "Job",
    "JobRun",
    "JobRuns",
    "Manifest",
    "PerformancePage",
    "PlannedRun",
    "Pool",
    "Report",
    "ScoringError",
    "ScoringJob",
    "backfill",
    "load_job",
    "open_pool",
    "parse_job",
    "plan",
    "plan_backfill",
    "read_manifests",
    "read_predictions",
    "record_baseline",
    "run",
]

_MODULES = {
    "BackfillItem": "nightscore.operations.backfill",
    "BackfillPlan": "nightscore.operations.backfill",
    "Baseline": "nightscore.operations.baseline",
    "Evaluations": "nightscore.operations.notebook_performance",
    "Job": "nightscore.operations.notebook",
    "JobRun": "nightscore.operations.notebook",
    "JobRuns": "nightscore.operations.notebook",
    "Manifest": "nightscore.schemas.manifest",
    "PerformancePage": "nightscore.operations.notebook_performance",
    "PlannedRun": "nightscore.operations.plan",
    "Pool": "nightscore.engine.pool",
    "Report": "nightscore.operations.notebook",
    "ScoringError": "nightscore.errors",
    "ScoringJob": "nightscore.schemas.job",
    "load_job": "nightscore.inputs.jobfile",
    "parse_job": "nightscore.inputs.jobfile",
}
"""Where a public name is defined, if not in `nightscore.operations.api`."""


def __getattr__(name: str) -> object:
    """A public name, imported now (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    module = importlib.import_module(_MODULES.get(name, "nightscore.operations.api"))
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
