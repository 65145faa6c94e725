"""What a job returns is shown in a notebook, and the notebook of the project runs as it stands."""

import json
import re
import shutil
import sqlite3
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from nightscore.engine.events import RowsScored, RunEnded, RunPlanned, ShardScored
from nightscore.errors import PartitionNotFoundError
from nightscore.operations.notebook import Job, JobRun
from nightscore.operations.notebook_progress import ProgressBar, in_jupyter
from tests.support.lake import Lake
from tests.support.models import NUMBERS, make_frame

NOTEBOOK = Path(__file__).parents[2] / "deploy" / "notebooks" / "first_hour.ipynb"
DAY = "2024-02-29"


def test_a_run_is_a_table_and_its_predictions_are_a_polars_frame(lake: Lake) -> None:
    lake.write(DAY, make_frame(20))
    job = Job(lake.job(), cache_dir=lake.cache.root)
    run = JobRun(lake.run(job.spec), job)

    assert repr(run).startswith("published test ds=2024-02-29\n  rows         20 read, 20 scored, ")
    html = run._repr_html_()
    assert html.startswith("<table><caption><b>published test ds=2024-02-29</b></caption>")
    assert ">20 read, 20 scored, 0 quarantined</td>" in html

    frame = run.predictions(["id", "prediction"])
    assert isinstance(frame, pl.DataFrame)
    assert frame.shape == (20, 2)
    assert job.predictions(date(2024, 2, 29)).height == 20

    runs = job.runs()
    assert [run.status for run in runs] == ["published"]
    assert repr(runs).splitlines()[1].startswith("2024-02-29  published  20    20      0")
    assert ">quarantined</th>" in runs[:1]._repr_html_()


def test_a_failed_run_shows_its_error_and_has_no_predictions(lake: Lake) -> None:
    lake.write(DAY, make_frame(20).drop(columns=[NUMBERS[0]]))
    job = Job(lake.job(), cache_dir=lake.cache.root)
    run = JobRun(lake.run(job.spec), job)

    assert "failed test ds=2024-02-29" in repr(run)
    assert "\\n" not in repr(run)
    assert re.search(rf"\n +- {NUMBERS[0]}: is missing", repr(run))
    assert run.manifest.error is not None
    assert str(run.manifest.error) == run.manifest.error.message
    assert NUMBERS[0] in run._repr_html_()
    with pytest.raises(PartitionNotFoundError, match="The run has published no predictions"):
        run.predictions()


def test_a_held_run_says_why_and_what_decides(lake: Lake) -> None:
    lake.write(DAY, make_frame(20).assign(id=7))
    keys = {"columns": ["id"], "unique": True}
    job = Job(lake.job(keys=keys, gates={"unique_keys": "hold"}), cache_dir=lake.cache.root)
    run = JobRun(lake.run(job.spec), job)

    assert re.search(r"unique_keys +expected .*, found ", repr(run))
    assert re.search(rf"next +nightscore approve test {DAY}, or nightscore reject", repr(run))


def test_a_report_is_a_frame_of_its_own_without_scripts(lake: Lake, tmp_path: Path) -> None:
    for day in ("2024-02-28", DAY):
        lake.write(day, make_frame(50))
    job = Job(lake.job(), cache_dir=lake.cache.root)
    lake.run(job.spec, "2024-02-28")
    report = JobRun(lake.run(job.spec), job).report()

    assert repr(report).startswith("published test ds=2024-02-29: drift ")
    shown = report._repr_html_()
    assert shown.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert shown.endswith('sandbox="allow-same-origin"></iframe>')
    assert report.save(tmp_path / "report.html").read_text() == report.html


def test_a_bar_moves_by_rows_and_says_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython.display

    drawn: list[str] = []

    class Handle:
        def update(self, shown: Any) -> None:
            drawn.append(shown.data)

    monkeypatch.setattr(IPython.display, "display", lambda shown, display_id: Handle())
    assert not in_jupyter()

    bar = ProgressBar(0)
    assert bar.html(0.0) == "<div><progress ></progress> planning</div>"
    bar.listen(RunPlanned("r", DAY, 100, 1, 4, 2, n_rows_resumed=20))
    bar.listen(ShardScored("r", DAY, 0, 20, 0, 1.0))
    bar.listen(RowsScored("r", DAY, 30))
    assert bar.html(6.0) == (
        '<div><progress value="50" max="100"></progress> '
        "scoring 2024-02-29: 50 of 100 rows, 6 s, about 10 s left</div>"
    )
    bar.listen(RunEnded("r", DAY, "published", 100, 0, 9.0))
    bar.close()
    assert "published 2024-02-29: 50 of 100 rows, 0 s<" in drawn[-1]


def test_the_notebook_is_committed_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
    assert len({cell["id"] for cell in cells}) == len(cells)


@pytest.mark.slow
def test_the_notebook_runs_as_it_stands(
    tmp_path: Path, registry_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbclient
    import nbformat

    # MLflow would take seconds to make its database: the notebook finds an empty one.
    (tmp_path / "first_hour").mkdir()
    database = tmp_path / "first_hour" / "mlflow.db"
    shutil.copy(registry_root / "mlflow.db", database)
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("NIGHTSCORE_CACHE", str(tmp_path / "cache"))

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()

    shown = {cell.id: outputs(cell) for cell in notebook.cells if cell.cell_type == "code"}
    assert "models:/m-" in shown["model"]
    assert "<b>published churn ds=2026-11-23</b>" in shown["run"]
    assert "published 2026-11-23: 2,000 of 2,000 rows" in shown["run"], "the bar"
    assert "probability" in shown["predictions"]
    assert "4,000 of 4,000 rows" in shown["backfill"]
    assert "<b>2 runs</b>" in shown["backfill"]
    assert '<iframe srcdoc="' in shown["report"]
    assert "drift critical: age" in shown["report"]
    assert "<b>3 runs</b>" in shown["runs"]

    with sqlite3.connect(database) as connection:
        (n_registered,) = connection.execute(
            "SELECT count(*) FROM registered_models WHERE name = 'churn'"
        ).fetchone()
    assert n_registered == 0


def outputs(cell: Any) -> str:
    """What a cell shows, as HTML where it is HTML."""
    texts = []
    for output in cell.outputs:
        data = output.get("data", {})
        texts += [data.get("text/html", ""), data.get("text/plain", ""), output.get("text", "")]
    return "\n".join(texts)
