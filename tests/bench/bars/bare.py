"""A bare script: it decodes files, predicts with the compiled form, and writes. Nothing else.

`python -m tests.bench.bars.bare SPEC`. Several files are shared by threads, one a core.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.models.compiled.flat import read_form
from nightscore.models.compiled.predictor import open_form
from nightscore.native.machine_code import load_kernels
from nightscore.schemas.model import ModelFacts


@dataclass(frozen=True)
class Spec:
    """What to do."""

    files: list[tuple[str, str]]
    """Each input file with the file to write."""
    form: str
    """The compiled form in the cache."""
    cache: str
    facts: dict[str, Any]
    key: str
    features: list[str]
    threads: int


class Unneeded:
    """In place of the library's predictor, which this data never needs."""

    def predict(self, features: pa.Table, kinds: object) -> Any:
        raise RuntimeError("a batch was left to the library")


def main() -> None:
    spec = Spec(**json.loads(Path(sys.argv[1]).read_text()))
    facts = ModelFacts.model_validate(spec.facts)
    form = read_form(Path(spec.form), facts.n_columns)
    if spec.threads == 1:
        _score_files(spec, form, facts, spec.files)
        return
    load_kernels(Path(spec.cache, "machine-code"))
    parts = [spec.files[i :: spec.threads] for i in range(spec.threads)]
    with ThreadPoolExecutor(spec.threads) as threads:
        list(threads.map(lambda files: _score_files(spec, form, facts, files), parts))


def _score_files(spec: Spec, form: Any, facts: ModelFacts, files: list[tuple[str, str]]) -> None:
    predictor = open_form(form, facts, Unneeded(), Path(spec.cache))
    for source, target in files:
        with pq.ParquetFile(source) as file:
            table = file.read([spec.key, *spec.features], use_threads=False)
        answer = predictor.predict(table.select(spec.features), ["probability"])
        scores = answer["probability"][:, -1].copy()
        column = pa.Array.from_buffers(pa.float64(), len(scores), [None, pa.py_buffer(scores)])
        written = pa.table({spec.key: table.column(spec.key), "probability": column})
        pq.write_table(written, target, compression="zstd")


if __name__ == "__main__":
    main()
