"""`nightscore evaluate`."""

import json
import operator
from collections.abc import Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from nightscore.cli.realised import print_judged, print_records
from nightscore.cli.resolve import load_any, read_range
from nightscore.cli.show import counted, out, print_json
from nightscore.cli.standing_text import show_standing
from nightscore.operations.evaluate import Evaluation, evaluate
from nightscore.operations.judge_evaluations import judge_evaluations
from nightscore.operations.metric_history import measure_together
from nightscore.operations.standing import standings
from nightscore.schemas.comparison import ComparisonRecord
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.performance import MetricRecord


def evaluate_command(
    job: str, between: tuple[str | None, str | None], run_id: str | None, as_json: bool
) -> None:
    """Evaluate what is new, or a run, and print it."""
    spec = load_any(job)
    first, last = read_range(spec, *between, "evaluate")
    done = evaluate(spec, datetime.now(UTC), first, last, run_id=run_id)

    found = standings(spec) if done.challengers else []

    if as_json:
        print_json(
            {
                "evaluated": [json.loads(record.model_dump_json()) for record in done.records],
                "unchanged": done.unchanged,
                "labels_without_prediction": done.n_orphans,
                "labels_of_other_partitions": done.n_of_others,
                "n_other_partitions": done.n_others,
                "partitions_without_prediction": done.others,
                "problems": done.problems,
                "challengers": _challengers_document(done, found),
            }
        )
    else:
        _print(spec, done)
        _print_challengers(spec, done, found)

    done.check()


def _print(spec: ScoringJob, done: Evaluation) -> None:
    if not done.has_label_files:
        out.print(f"There are no files of labels yet: {done.labels_uri}")
        return

    if done.records:
        print_records(spec, done.records, _together(spec, done.records))
        print_judged(judge_evaluations(spec, done.records))

    replaced = list(filter(operator.attrgetter("is_replaced"), done.records))
    for record in replaced:
        out.print(f"These are results of run {record.run_id}, which readers no longer see.")

    n_unchanged = len(done.unchanged)
    if n_unchanged:
        are = "has" if n_unchanged == 1 else "have"
        out.print(f"{counted(n_unchanged, 'partition')} {are} no new predictions or labels.")
    elif not done.records and not done.problems:
        out.print("Nothing is published in this range.")

    for text in filter(None, (done.describe_orphans(), done.describe_others())):
        out.print(f"{text}.")

    if (done.records or n_unchanged) and not replaced:
        out.print(f"Beside what was estimated: {spec.command('performance')}")


def _challengers_document(
    done: Evaluation, found: Sequence[ComparisonRecord]
) -> dict[str, dict[str, Any]]:
    """The records of challengers by label, and where the decision stands."""
    documents = {}

    for (label, own), standing in zip(done.challengers.items(), found, strict=True):
        records = list(map(operator.methodcaller("model_dump", mode="json"), own.records))

        documents[label] = {
            "evaluated": records,
            "unchanged": own.unchanged,
            "problems": own.problems,
            "standing": standing.model_dump(mode="json"),
        }

    return documents


def _print_challengers(
    spec: ScoringJob, done: Evaluation, found: Sequence[ComparisonRecord]
) -> None:
    for (label, own), standing in zip(done.challengers.items(), found, strict=True):
        partitions = counted(len(own.records), "partition")
        out.print(f"{spec.name}@{label}: {partitions} evaluated, {len(own.unchanged)} unchanged.")
        for line in show_standing(standing):
            out.print(line)


def _together(spec: ScoringJob, records: Sequence[EvaluationRecord]) -> list[MetricRecord]:
    """The metrics of several partitions together; none of models of different kinds."""
    kinds = set(map(attrgetter("task"), records))
    return measure_together(spec, records) if len(records) > 1 and len(kinds) == 1 else []
