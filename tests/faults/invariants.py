"""What must hold after whatever happened: of inputs, outputs, records and processes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from nightscore.ledger import liveness
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.layout import predictions_store, state_store
from nightscore.ledger.workspace import Workspace
from nightscore.operations.history import run_history
from nightscore.outputs.publish import open_publisher
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from tests.support.lake import Lake
from tests.support.models import NUMBERS


class BrokenPromiseError(AssertionError):
    """Something that must never be seen was seen."""


def demand(holds: bool, what: str) -> None:
    if not holds:
        raise BrokenPromiseError(what)


def check_partitions(
    lake: Lake, job: ScoringJob, inputs: Mapping[str, list[pd.DataFrame]], estimator: Any
) -> dict[str, int]:
    """Each published partition holds each row of one of its inputs once, scored as the model does, or in quarantine.

    Args:
        lake: Where.
        job: With `id` as key.
        inputs: Partition to the frames that it had, the latest last; what is published is one of them.
        estimator: That scored them.

    Returns:
        Partition to the index of the input that is published; -1: nothing is.
    """
    live = open_publisher(Workspace(job)).all_live()
    demand(set(live) <= set(inputs), f"partitions that nobody wrote: {set(live) - set(inputs)}")
    everything = lake.read(job) if live else pd.DataFrame()
    versions = {}
    for day, frames in inputs.items():
        if day not in live:
            versions[day] = -1
            continue
        rows = everything[everything["ds"].astype(str) == day].sort_values("id", ignore_index=True)
        run_id = live[day].run_id
        standing = PartitionHistory(Workspace(job), day).standing(live[day])
        demand(standing is not None, f"{day}: run {run_id} left no record")
        assert standing
        versions[day] = next(
            (
                i
                for i, frame in enumerate(frames)
                if _is_scored(rows, frame, job, standing, estimator)
            ),
            -2,
        )
        demand(
            versions[day] >= 0,
            f"{day}: {len(rows):,} rows of run {run_id} are not those of any input",
        )
    return versions


def _is_scored(
    rows: pd.DataFrame, frame: pd.DataFrame, job: ScoringJob, manifest: Manifest, estimator: Any
) -> bool:
    """Scored and quarantined rows are those of the frame, each once, with the model's own predictions."""
    apart = _quarantined_ids(job, manifest)
    if len(rows) + len(apart) != len(frame) or set(apart) & set(rows["id"]):
        return False
    expected = frame[~frame["id"].isin(apart)].sort_values("id", ignore_index=True)
    if rows["id"].tolist() != expected["id"].tolist():
        return False
    return bool(
        np.array_equal(rows["probability"], estimator.predict_proba(expected[NUMBERS])[:, 1])
    )


def _quarantined_ids(job: ScoringJob, manifest: Manifest) -> list[int]:
    ids: list[int] = []
    for file in manifest.quarantine.files:
        with pq.ParquetFile(state_store(job).open_input(file.path)) as parquet:
            ids += parquet.read(["id"]).column("id").to_pylist()
    return ids


def check_records(job: ScoringJob) -> None:
    """Every run that ended says how; what is published is complete and undamaged; nothing is left running."""
    live = {seen.run_id for seen in open_publisher(Workspace(job)).all_live().values()}
    with pytest.MonkeyPatch.context() as later:
        later.setattr(
            liveness, "LEASE_TIMEOUT_S", -60.0
        )  # as two minutes from now, all being quiet
        history = run_history(job)
    for manifest in history:
        counts = manifest.counts
        if manifest.run_id in live or manifest.status == "published":
            demand(
                counts.rows_in == counts.rows_scored + counts.rows_quarantined,
                f"{manifest.run_id}: the rows do not add up",
            )
        if manifest.run_id in live:
            for file in manifest.output.files:
                demand(
                    predictions_store(job).sha256(file.path) == file.sha256,
                    f"{file.path}: not what was written",
                )
        demand(manifest.status != "running", f"{manifest.run_id}: still running")
        if manifest.status == "failed":
            demand(manifest.error is not None, f"{manifest.run_id}: failed without a word")


def check_error(manifest: Manifest) -> None:
    """What failed, where, and the next step; no stack trace."""
    demand(manifest.error is not None, "no error")
    assert manifest.error
    text = manifest.error.message
    demand("Traceback" not in text, f"a stack trace: {text}")
    demand("next:" in text, f"no next step: {text}")
    demand(len(text.splitlines()) > 1, f"no details: {text}")


def check_secrets(job: ScoringJob, *secrets: str) -> None:
    """Nothing that the runs left holds one of them."""
    state = state_store(job)
    for entry in state.list_files():
        content = state.read_bytes(entry.path)
        for secret in secrets:
            demand(secret.encode() not in content, f"{entry.path} holds a secret")
