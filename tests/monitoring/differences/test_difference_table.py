"""A run's difference as a long table: figures of all rows, of segments and of bins."""

from pathlib import Path

import polars as pl
import pytest

from nightscore.monitoring.differences.difference_summary import summarise_difference
from nightscore.monitoring.differences.difference_table import SCHEMA, difference_table
from nightscore.schemas.manifest import Manifest, read_record
from tests.profiles.differences.compared import binary_spec, count_rows, make_rows

GOLDEN = Path(__file__).parents[2] / "golden" / "manifest-1r.json"
ROWS = make_rows(2_000, seed=6)


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    counts = count_rows(ROWS, binary_spec())
    manifest = read_record(GOLDEN.read_text(), Manifest)
    content = difference_table("canary", manifest, summarise_difference(counts), counts)

    frame = pl.read_parquet(content)
    assert frame.columns == SCHEMA.names
    assert frame["challenger"].unique().to_list() == ["canary"]
    return frame


def test_figures_of_all_rows_are_those_of_polars(table: pl.DataFrame) -> None:
    whole = table.filter(column="")
    values = dict(whole.select("metric", "value").iter_rows())
    assert len(values) == len(whole), "each once"

    champion, challenger = pl.Series(ROWS["champion"]), pl.Series(ROWS["challenger"])
    deltas = challenger - champion
    assert values["mean"] == pytest.approx(deltas.mean(), rel=1e-9)
    assert (values["least"], values["greatest"]) == (deltas.min(), deltas.max())
    assert values["quantile_0.95"] == pytest.approx(deltas.quantile(0.95), rel=0.02)
    assert values["rows_higher"] == (deltas > 0).sum()
    assert values["rows_to_positive"] == ((champion <= 0.5) & (challenger > 0.5)).sum()
    assert values["rows"] == 2_000

    (ranks,) = whole.filter(metric="rank_correlation").iter_rows(named=True)
    assert ranks["low"] < ranks["value"] < ranks["high"]
    assert values["in_common_of_top_100"] <= 100


def test_groups_have_a_row_for_each_figure(table: pl.DataFrame) -> None:
    carriers = table.filter(column="carrier", metric="mean_absolute")
    rows = pl.from_arrow(ROWS)
    assert isinstance(rows, pl.DataFrame)

    sizes = (pl.col("challenger") - pl.col("champion")).abs().mean()
    expected = dict(rows.group_by("carrier").agg(sizes).iter_rows())
    found = dict(carriers.select("group", "value").iter_rows())
    assert found["AA"] == pytest.approx(expected["AA"], rel=1e-4)
    assert found["(other)"] == pytest.approx(expected["B6"], rel=1e-4)

    late = table.filter(column="dep_delay", above=60.0, metric="share_of_rows")
    share = (rows["dep_delay"] > 60).sum() / 2_000
    assert late.select("group", "up_to", "value", "n").rows() == [
        (None, None, pytest.approx(share), (rows["dep_delay"] > 60).sum())
    ]
