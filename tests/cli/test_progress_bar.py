"""The bar counts rows as workers report them, over one run or all runs of a backfill."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from nightscore.cli import progress_bar
from nightscore.cli.progress_bar import FULL_WIDTH, _columns, _Rows, progress
from nightscore.engine.events import RowsScored, RunEnded, RunPlanned, ShardScored


def shown(bar: Progress) -> tuple[float, float | None, str, str]:
    (task,) = bar.tasks
    return task.completed, task.total, task.description, task.fields["counts"]


def make_bar() -> Progress:
    return Progress(console=Console(file=io.StringIO()), auto_refresh=False)


def test_the_bar_moves_by_rows_and_never_counts_them_twice() -> None:
    bar = make_bar()
    listen = _Rows(bar, None, 1)
    assert shown(bar) == (0, None, "planning", "")
    listen(RunPlanned("a", "2024-02-29", 10_000, 1, 2, 2, n_rows_resumed=1_000))
    assert shown(bar) == (1_000, 10_000, "scoring 2024-02-29", "1,000 of 10,000 rows")
    listen(RowsScored("a", "2024-02-29", 2_500))
    assert shown(bar)[0] == 3_500
    listen(ShardScored("a", "2024-02-29", 0, 2_000, 0, 0.1))
    assert shown(bar)[0] == 3_500, "these rows were reported before"
    listen(ShardScored("a", "2024-02-29", 1, 7_000, 0, 0.1))
    assert shown(bar)[0] == 10_000


def test_a_backfill_has_one_bar_over_all_its_rows() -> None:
    bar = make_bar()
    listen = _Rows(bar, 300, 3)
    listen(RunPlanned("a", "day 1", 100, 1, 1, 1))
    listen(ShardScored("a", "day 1", 0, 100, 0, 0.1))
    listen(RunPlanned("b", "day 2", 100, 1, 1, 1))  # while the first is published
    listen(RowsScored("b", "day 2", 50))
    listen(RunEnded("a", "day 1", "published", 100, 0, 1.0))
    assert shown(bar) == (150, 300, "scoring day 2 (1 of 3)", "150 of 300 rows")
    listen(RunPlanned("c", "day 3", 100, 1, 1, 1))
    assert shown(bar)[2] == "scoring day 3 (2 of 3)"


@pytest.mark.parametrize("width", [60, 80, FULL_WIDTH, 200])
def test_elapsed_and_remaining_time_fit_on_one_line(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    bar = Progress(*_columns(width), console=console, auto_refresh=False)
    listen = _Rows(bar, 2_000_000, 12)
    listen(RunPlanned("a", "2024-02-29", 100_000, 1, 1, 1))
    listen(RowsScored("a", "2024-02-29", 50_000))
    console.print(bar.get_renderable())
    (line,) = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(line) <= width
    assert line.rstrip().endswith("left")
    assert line.count(":") >= 3, "elapsed time, and time left"
    assert ("50,000 of 2,000,000 rows" in line) == (width >= FULL_WIDTH)


def test_a_pipe_shows_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(progress_bar, "err", Console(file=written))
    with progress(quiet=False) as listen:
        listen(RunPlanned("a", "2024-02-29", 10, 1, 1, 1))
    assert written.getvalue() == ""
