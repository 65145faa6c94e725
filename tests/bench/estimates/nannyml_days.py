"""Estimates days with NannyML's CBPE. Runs in an environment of its own, without this project.

Reads one line of JSON for each day, `{"folder": ..., "metrics": [...]}`, with `baseline.parquet` and
`day.parquet` in that folder, and answers with one line of JSON. With `day_rows`, the file has many
days of so many rows, which are estimated in one call; the numbers are those of the first.
"""

import json
import logging
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import nannyml
import numpy as np
import pandas as pd

PERIOD = "analysis"


def estimate(folder: Path, metrics: list[str], day_rows: int | None = None) -> dict[str, Any]:
    """Values with their standard errors, and CPU seconds, of one day or of many.

    A day is one chunk. The baseline is cut into chunks of its size, for the limits of alerts.
    """
    baseline = pd.read_parquet(folder / "baseline.parquet")
    began = time.process_time()
    day = pd.read_parquet(folder / "day.parquet")

    started = time.process_time()
    estimator = nannyml.CBPE(
        y_pred_proba="score",
        y_pred="predicted",
        y_true="label",
        metrics=metrics,
        chunk_size=day_rows or len(day),
        problem_type="classification_binary",
    )
    estimator.fit(baseline)
    fitted = time.process_time()
    estimated = estimator.estimate(day)
    ended = time.process_time()

    chunk, *_ = estimated.filter(period=PERIOD).to_df().to_dict("records")
    found = {}
    for name in metrics:
        numbers = [float(chunk[name, part]) for part in ("value", "sampling_error")]
        found[name] = [number if np.isfinite(number) else None for number in numbers]

    return {
        "metrics": found,
        "reading_cpu_s": started - began,
        "baseline_cpu_s": fitted - started,
        "day_cpu_s": ended - fitted,
    }


def main() -> None:
    """Answer until there are no more lines."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    sys.stdout = sys.stderr  # whatever else is printed
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)

    for line in sys.stdin:
        asked = json.loads(line)
        answers.write(json.dumps(estimate(Path(asked.pop("folder")), **asked)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
