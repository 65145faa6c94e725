"""Records of evaluations as `evaluate` writes them, without labels and predictions."""

from datetime import UTC, datetime
from typing import Any

from nightscore.ledger.evaluation_files import write_evaluation
from nightscore.ledger.layout import state_store
from nightscore.schemas.evaluation import EvaluationRecord, LabelsRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.performance import MetricRecord
from tests.support.publications import run_id

Band = tuple[float | None, float | None, float | None]
"""A value, and the ends of its band."""


def evaluation(day: str, auc: Band, **fields: Any) -> EvaluationRecord:
    """An evaluation of 100 rows of one day; `fields` are those that a test is about."""
    value, low, high = auc
    usual: dict[str, Any] = {
        "evaluation_id": run_id(50),
        "job": "delay",
        "partition_key": "ds",
        "partition": day,
        "run_id": run_id(int(day[-2:])),
        "model_name": "m",
        "model_version": "3",
        "made_at": datetime(2024, 3, 20, tzinfo=UTC),
        "engine": "0",
        "work": f"{int(day[-2:]):x}",
        "task": "binary",
        "labels": LabelsRecord(uri="labels"),
        "metrics": (MetricRecord(name="roc_auc", value=value, low=low, high=high, n=100),),
    }
    return EvaluationRecord(**usual | fields)


def recorded(job: ScoringJob, day: str, auc: Band, **fields: Any) -> EvaluationRecord:
    """The same in the job's state folder."""
    return write_evaluation(state_store(job), evaluation(day, auc, **fields), b"", b"")
