"""NannyML's CBPE, in an environment of its own: it wants older libraries than this project."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import pandas as pd

from tests.bench.estimates.case import METRICS, UNKNOWN, Case, Estimated, Estimates, Rows

REQUIRED = ("nannyml==0.13.1", "statsmodels")
"""It imports statsmodels, and does not ask for it."""
FOLDER = Path(".venv-nannyml")
SCRIPT = Path(__file__).with_name("nannyml_days.py")
BEFORE_PYTHON = (3, 13)
BASELINE, DAY = "baseline.parquet", "day.parquet"
SHOWN = ("nannyml", "numpy", "pandas", "scikit-learn")
SIGMAS = 1.959964
"""Of a 95 % band. NannyML itself draws 3 standard errors."""
SETTINGS = {
    "NML_DISABLE_USAGE_LOGGING": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class NannyML:
    """A process that estimates one day after another.

    It takes most of the time, so its answers are kept: the same rows need not be asked about again.
    """

    def __init__(self, kept: Path | None = None) -> None:
        """Start it; its environment is made at the first time.

        Args:
            kept: File of earlier answers, which is added to. None: none are kept.

        Raises:
            RuntimeError: It cannot be installed here, with the reason.
        """
        self.python = _python()
        self._kept = kept
        self._answers = _read_answers(kept)
        self._scratch = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [str(self.python), str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | SETTINGS,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        self._pipe(self._process.stdin).close()
        self._process.wait()
        self._pipe(self._process.stdout).close()
        self._scratch.cleanup()

    def estimate(self, case: Case) -> Estimates:
        """What it says of the day: the same rows, written as Parquet."""
        digest = _digest(case)
        if digest in self._answers:
            return _as_estimates(self._answers[digest])

        answer = self._ask(case)
        if self._kept is not None:
            with self._kept.open("a") as file:
                file.write(json.dumps({"digest": digest, "answer": answer}) + "\n")
        return _as_estimates(answer)

    def cost(self, case: Case, day_rows: int) -> tuple[float, float, float]:
        """CPU seconds for the baseline, for reading the rows, and for the estimates.

        Args:
            case: Its day has the rows of many days.
            day_rows: Of each of them.
        """
        answer = self._ask(case, day_rows=day_rows)
        return answer["baseline_cpu_s"], answer["reading_cpu_s"], answer["day_cpu_s"]

    def _ask(self, case: Case, **options: int) -> dict[str, Any]:
        folder = Path(self._scratch.name)
        for name, rows in ((BASELINE, case.baseline), (DAY, case.day)):
            _frame(rows, case.threshold, with_labels=name == BASELINE).to_parquet(folder / name)

        question = json.dumps({"folder": str(folder), "metrics": METRICS} | options)
        pipe = self._pipe(self._process.stdin)
        pipe.write(question + "\n")
        pipe.flush()

        line = self._pipe(self._process.stdout).readline()
        if not line:
            raise RuntimeError("NannyML's process has ended; what it says is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def versions(self) -> dict[str, str]:
        """Of it and of what it is made of."""
        command = [str(self.python), "-m", "pip", "list", "--format", "json"]
        listed = subprocess.run(command, capture_output=True, check=True).stdout
        installed = {entry["name"].lower(): entry["version"] for entry in json.loads(listed)}
        return {name: installed[name] for name in SHOWN}

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


def _digest(case: Case) -> str:
    """Of what it is told."""
    digest = hashlib.blake2b(repr((REQUIRED, METRICS, case.threshold)).encode())
    for values in (case.baseline.scores, case.baseline.labels, case.day.scores):
        digest.update(values.tobytes())
    return digest.hexdigest()[:32]


def _read_answers(kept: Path | None) -> dict[str, dict[str, Any]]:
    if kept is None or not kept.exists():
        return {}
    lines = map(json.loads, kept.read_text().splitlines())
    return {line["digest"]: line["answer"] for line in lines}


def _frame(rows: Rows, threshold: float, *, with_labels: bool) -> pd.DataFrame:
    """CBPE reads score, prediction and, in the baseline, label."""
    predicted = (rows.scores > threshold).astype(np.int64)
    frame = pd.DataFrame({"score": rows.scores, "predicted": predicted})
    return frame.assign(label=rows.labels.astype(np.int64)) if with_labels else frame


def _as_estimates(answer: dict[str, Any]) -> Estimates:
    found = {}
    for name in METRICS:
        value, error = answer["metrics"][name]
        is_known = value is not None and error is not None
        found[name] = UNKNOWN if not is_known else _with_band(value, error)
    return Estimates(found, answer["baseline_cpu_s"], answer["day_cpu_s"])


def _with_band(value: float, error: float) -> Estimated:
    return Estimated(value, max(0.0, value - SIGMAS * error), min(1.0, value + SIGMAS * error))


def _python() -> Path:
    """Of an environment with NannyML."""
    python = FOLDER / "bin" / "python"
    ready = FOLDER / ".ready"
    if ready.exists() and ready.read_text() == repr(REQUIRED):
        return python

    if sys.version_info >= BEFORE_PYTHON:
        wanted = ".".join(map(str, BEFORE_PYTHON))
        raise RuntimeError(f"NannyML is left out: it needs Python before {wanted}")

    print(f"Creating {FOLDER} with {REQUIRED[0]}", flush=True)
    venv.create(FOLDER, with_pip=True, clear=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIRED]
    if subprocess.run(install).returncode:
        raise RuntimeError("NannyML is left out: it cannot be installed, see above")
    ready.write_text(repr(REQUIRED))
    return python
