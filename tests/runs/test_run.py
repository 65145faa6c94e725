"""The whole path: a partition goes in, published predictions and a manifest come out."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nightscore.ledger.layout import predictions_store, state_store
from nightscore.ledger.manifest_files import find_manifest
from nightscore.models.pinned import PinnedModel
from nightscore.operations.partitions import partition_statuses
from tests.support.lake import Lake
from tests.support.models import NUMBERS, KnownModel, make_frame

DAY = "2024-02-29"


def test_scores_publishes_and_records(any_lake: Lake, models: dict[str, KnownModel]) -> None:
    frame = make_frame(5_000)
    any_lake.write(DAY, frame.iloc[:3_000], "a", row_group_size=1_000)
    any_lake.write(DAY, frame.iloc[3_000:], "b")
    job = any_lake.job(pass_through=["color"])

    manifest = any_lake.run(job)

    assert manifest.error is None
    assert manifest.status == "published"
    assert (
        manifest.counts.rows_in,
        manifest.counts.rows_scored,
        manifest.counts.rows_quarantined,
    ) == (5000, 5000, 0)
    published = any_lake.read(job).sort_values("id").reset_index(drop=True)
    expected = models["hgb_binary"].estimator
    assert np.array_equal(published["probability"], expected.predict_proba(frame[NUMBERS])[:, 1])
    assert np.array_equal(published["prediction"], expected.predict(frame[NUMBERS]))
    assert published["color"].tolist() == frame["color"].tolist()
    assert set(published["run_id"]) == {manifest.run_id}
    assert set(published["model_version"]) == {"1"}
    assert set(published["ds"]) == {DAY}
    stored = find_manifest(state_store(job), f"ds={DAY}", manifest.run_id)
    assert stored == manifest
    assert sum(file.rows for file in manifest.output.files) == 5_000


def test_rerun_is_unchanged_and_force_scores_again(any_lake: Lake) -> None:
    any_lake.write(DAY, make_frame(500))
    job = any_lake.job()
    first = any_lake.run(job)

    again = any_lake.run(job)
    forced = any_lake.run(job, force=True)

    assert (again.status, again.run_id) == ("unchanged", first.run_id)
    assert forced.status == "published"
    assert forced.run_id > first.run_id
    published = any_lake.read(job)
    assert set(published["run_id"]) == {forced.run_id}
    assert len(published) == 500


def test_what_somebody_has_deleted_is_scored_again(any_lake: Lake) -> None:
    any_lake.write(DAY, make_frame(50))
    job = any_lake.job()
    first = any_lake.run(job)
    deleted = first.output.files[0].path
    predictions_store(job).delete([deleted])

    model = PinnedModel.resolve(job, any_lake.cache)
    (before,) = partition_statuses(job, model)
    again = any_lake.run(job)
    (after,) = partition_statuses(job, model)

    assert (before.state, after.state) == ("missing", "published")
    assert again.status == "published"
    assert len(any_lake.read(job)) == 50
    if job.output.format == "delta":
        assert before.reasons[0].startswith(f"the published file {deleted} was deleted")
        assert any(deleted in warning for warning in again.warnings)


def test_changed_input_replaces_the_partition_alone(any_lake: Lake) -> None:
    job = any_lake.job()
    any_lake.write(DAY, make_frame(500))
    any_lake.write("2024-03-01", make_frame(300, seed=2))
    other = any_lake.run(job, "2024-03-01")
    any_lake.run(job)
    any_lake.write(DAY, make_frame(700, seed=3))

    changed = any_lake.run(job)

    published = any_lake.read(job)
    assert changed.status == "published"
    assert published.groupby("run_id").size().to_dict() == {other.run_id: 300, changed.run_id: 700}


def test_a_partition_may_be_empty(any_lake: Lake) -> None:
    any_lake.write(DAY, make_frame(500))
    job = any_lake.job()
    any_lake.run(job)
    any_lake.features.delete([f"ds={DAY}/part-0.parquet"])
    any_lake.write(DAY, make_frame(0), "none")

    manifest = any_lake.run(job)

    assert (manifest.status, manifest.counts.rows_in) == ("published", 0)
    assert len(any_lake.read(job)) == 0
    assert any_lake.run(job).status == "unchanged"


def test_a_partition_without_files_takes_its_columns_from_a_neighbour(lake: Lake) -> None:
    lake.write("2024-03-01", make_frame(10))
    lake.features.write_bytes(f"ds={DAY}/_SUCCESS", b"")
    job = lake.job()

    manifest = lake.run(job)

    assert (manifest.error, manifest.status, manifest.counts.rows_in) == (None, "published", 0)
    lake.run(job, "2024-03-01")
    assert len(lake.read(job)) == 10


def test_a_partition_whose_files_are_gone_keeps_its_predictions(any_lake: Lake) -> None:
    any_lake.write("2024-03-01", make_frame(10))
    any_lake.write(DAY, make_frame(500))
    job = any_lake.job()
    first = any_lake.run(job)
    any_lake.features.write_bytes(f"ds={DAY}/_SUCCESS", b"")
    any_lake.features.delete([f"ds={DAY}/part-0.parquet"])

    manifest = any_lake.run(job)

    assert manifest.status == "failed"
    assert manifest.error
    assert manifest.error.type == "InputError"
    assert (
        f"no files, while readers see the predictions of run {first.run_id}"
        in manifest.error.message
    )
    assert len(any_lake.read(job)) == 500


def test_without_keys_the_source_position_travels(any_lake: Lake) -> None:
    frame = make_frame(900)
    any_lake.write(DAY, frame.iloc[:600], "a", row_group_size=250)
    any_lake.write(DAY, frame.iloc[600:], "b")
    job = any_lake.job(keys=[], pass_through=["id"])

    assert any_lake.run(job).status == "published"

    published = any_lake.read(job).sort_values(["source_file", "source_row"])
    assert published["id"].tolist() == frame["id"].tolist()
    assert published["source_row"].tolist() == [*range(600), *range(300)]
    assert set(published["source_file"].astype(str)) == {
        f"ds={DAY}/a.parquet",
        f"ds={DAY}/b.parquet",
    }


def test_rows_keep_the_order_of_their_file(lake: Lake) -> None:
    frame = make_frame(2_000).sample(frac=1, random_state=0)
    lake.write(DAY, frame, row_group_size=300)
    job = lake.job()

    lake.run(job)

    assert lake.read(job)["id"].tolist() == frame["id"].tolist()


@pytest.mark.parametrize(
    "cut", [[5_000], [1_000] * 5, [1, 4_999], [63, 64, 65, 4_808], [17] * 200 + [1_600]]
)
@pytest.mark.parametrize("name", ["hgb_binary", "forest_numpy", "pipeline_ordinal"])
def test_the_cut_of_a_partition_does_not_matter(
    lake: Lake, models: dict[str, KnownModel], name: str, cut: list[int]
) -> None:
    frame = make_frame(5_000)
    known = models[name]
    start = 0
    for i, n_rows in enumerate(cut):
        lake.write(DAY, frame.iloc[start : start + n_rows], f"p{i:04d}", row_group_size=777)
        start += n_rows
    job = lake.job(name)

    assert lake.run(job).error is None

    published = lake.read(job).sort_values("id")
    x = frame[known.columns] if known.is_named else frame[known.columns].to_numpy()
    assert np.array_equal(published["prediction"].to_numpy(), known.estimator.predict(x))


@pytest.mark.parametrize("name", ["logistic", "logistic_numpy", "linear_numpy", "logistic_multi"])
def test_a_linear_models_row_does_not_depend_on_its_neighbours(lake: Lake, name: str) -> None:
    frame = make_frame(4_096)
    last = frame.iloc[-64:]
    cuts = {"one": [4_032], "small": [17] * 237 + [3], "two": [1, 4_031]}
    job = lake.job(name)
    column = (
        "prediction"
        if name == "linear_numpy"
        else "probability_high"
        if name == "logistic_multi"
        else "probability"
    )
    scores = {}
    for day, (label, cut) in enumerate(cuts.items(), 1):
        start = 0
        shuffled = frame.iloc[:-64].sample(frac=1, random_state=day)
        for i, n_rows in enumerate(cut):
            lake.write(f"2024-03-0{day}", shuffled.iloc[start : start + n_rows], f"p{i:04d}")
            start += n_rows
        lake.write(
            f"2024-03-0{day}", last, "z"
        )  # the partition's last batch has the library's own shape
        lake.run(job, f"2024-03-0{day}")
        table = lake.read(job)
        scores[label] = table[table["ds"] == f"2024-03-0{day}"].sort_values("id")[column].to_numpy()

    assert np.array_equal(scores["one"], scores["small"])
    assert np.array_equal(scores["one"], scores["two"])


def test_hive_keys_below_the_partition_are_columns(lake: Lake) -> None:
    frame = make_frame(60)
    for color, rows in frame.groupby("color"):
        with lake.features.open_output(f"ds={DAY}/color={color}/size=m/x.parquet") as file:
            import pyarrow.parquet as pq

            pq.write_table(
                pa.Table.from_pandas(rows.drop(columns=["color", "size"]), preserve_index=False),
                file,
            )
    job = lake.job("pipeline_strict", pass_through=["color"])

    manifest = lake.run(job)

    assert manifest.error is None
    published = lake.read(job).sort_values("id")
    assert published["color"].tolist() == frame["color"].tolist()


@pytest.mark.parametrize("value", ["a b", "São/Paulo%", "x=y", "007", "2024-02-29 12:00", None])
def test_odd_partition_values_round_trip(any_lake: Lake, value: str | None) -> None:
    from nightscore.schemas.partition import encode_folder

    frame = make_frame(20)
    folder = encode_folder("ds", value)
    any_lake.write(folder.removeprefix("ds="), frame)
    any_lake.write("other", make_frame(5))
    job = any_lake.job()

    assert any_lake.run(job, value).status == "published"
    assert any_lake.run(job, value).status == "unchanged"
    assert any_lake.run(job, "other").status == "published"

    published = any_lake.read(job)
    if job.output.format == "delta":
        mine = (
            published[published["ds"].isna()]
            if value is None
            else published[published["ds"] == value]
        )
    else:
        mine = published[published["ds"] == folder.removeprefix("ds=")]
    assert mine["id"].tolist() == frame["id"].tolist()
    assert len(published) == 25


def test_hidden_files_are_skipped_and_strangers_named(lake: Lake) -> None:
    lake.write(DAY, make_frame(10))
    for name in ("_temporary/x.parquet", ".part.parquet.crc", "_SUCCESS"):
        lake.features.write_bytes(f"ds={DAY}/{name}", b"no parquet")
    lake.features.write_bytes(f"ds={DAY}/notes.txt", b"hello")

    refused = lake.run(lake.job())
    manifest = lake.run(lake.job(input={"uri": lake.features.uri, "files": "*.parquet"}))

    assert refused.error
    assert refused.error.type == "CorruptFileError"
    assert "notes.txt" in refused.error.message
    assert not [
        name for name in ("_temporary", ".crc", "_SUCCESS") if name in refused.error.message
    ]
    assert manifest.status == "published"
    assert (manifest.counts.rows_in, manifest.inputs.files_left_out) == (10, 1)


def test_extra_columns_are_recorded(lake: Lake) -> None:
    lake.write(DAY, make_frame(10).assign(surprise=1))

    manifest = lake.run(lake.job())

    assert manifest.inputs.extra_columns == ("count", "flag", "color", "size", "surprise")


def test_an_alias_is_resolved_once_and_recorded(lake: Lake) -> None:
    lake.write(DAY, make_frame(10))

    manifest = lake.run(lake.job(model="models:/hgb_binary@champion"))

    assert (manifest.model.uri, manifest.model.version) == ("models:/hgb_binary@champion", "1")


def test_kept_columns_survive_to_the_bit(any_lake: Lake) -> None:
    import datetime as dt
    import decimal

    n = 20
    table = pa.Table.from_pandas(make_frame(n)[["id", *NUMBERS]], preserve_index=False)
    extra = {
        "u64": pa.array([2**64 - 1 - i for i in range(n)], pa.uint64()),
        "u8": pa.array(range(n), pa.uint8()),
        "big": pa.array([2**62 + i for i in range(n)]),
        "when": pa.array(
            [dt.datetime(2024, 1, 1, 0, 0, 0, i) for i in range(n)], pa.timestamp("us")
        ),
        "utc": pa.array(
            [dt.datetime(2024, 1, 1, 0, 0, 0, i) for i in range(n)], pa.timestamp("us", "UTC")
        ),
        "ns": pa.array(
            [1_700_000_000_000_000_000 + i * 1000 for i in range(n)], pa.timestamp("ns")
        ),
        "day": pa.array([dt.date(2024, 1, i + 1) for i in range(n)]),
        "amount": pa.array([decimal.Decimal(i) / 100 for i in range(n)], pa.decimal128(12, 2)),
        "text": pa.array([None if i % 3 else f"é{i}" for i in range(n)]).dictionary_encode(),
        "raw": pa.array([bytes([i]) for i in range(n)]),
        "none": pa.array([None if i % 2 else i for i in range(n)], pa.int32()),
    }
    for name, column in extra.items():
        table = table.append_column(name, column)
    any_lake.write(DAY, table)
    job = any_lake.job(pass_through=list(extra))

    manifest = any_lake.run(job)

    assert manifest.error is None
    published = any_lake.read(job)
    for name, column in extra.items():
        values = published[name].tolist()
        expected = pd.Series(column.to_pandas()).tolist()
        if name == "text":
            values, expected = (
                [v if isinstance(v, str) else None for v in values],
                column.to_pylist(),
            )
        if name == "none":
            values, expected = [None if pd.isna(v) else int(v) for v in values], column.to_pylist()
        if name == "u64":
            values = [int(v) for v in values]
        assert values == expected, name


def test_measures_are_real(lake: Lake) -> None:
    lake.write(DAY, make_frame(50_000))

    measures = lake.run(lake.job()).measures

    assert measures.cpu_s > 0
    assert measures.rows_per_s > 0
    assert measures.peak_worker_bytes
    assert min(measures.peak_worker_bytes) > 50 << 20
    assert measures.bytes_in > 50_000 * 8
    assert {"model", "plan", "score", "publish", "workers_predict"} <= set(measures.stages_s)


@pytest.mark.parametrize("moment", ["planned", "scored"])
def test_an_input_that_changes_during_the_run_fails_it(any_lake: Lake, moment: str) -> None:
    from nightscore.engine.events import Event, RunPlanned, ShardScored

    any_lake.write(DAY, make_frame(100))
    job = any_lake.job()
    before = any_lake.run(job)

    def interfere(event: Event) -> None:
        if isinstance(event, RunPlanned if moment == "planned" else ShardScored):
            name = "part-0" if moment == "planned" else "late"
            any_lake.write(DAY, make_frame(101, seed=5), name)

    manifest = any_lake.run(job, force=True, listeners=[interfere])

    assert manifest.status == "failed"
    assert manifest.error
    assert (manifest.error.type, manifest.error.retryable) == ("InputChangedError", True)
    assert set(any_lake.read(job)["run_id"].astype(str)) == {before.run_id}


def test_dictionaries_of_several_files_agree(lake: Lake, models: dict[str, KnownModel]) -> None:
    frame = make_frame(300)
    for i, kind in enumerate(
        (pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.string()), None)
    ):
        table = pa.Table.from_pandas(frame.iloc[i * 100 : (i + 1) * 100], preserve_index=False)
        column = table["color"].cast(pa.string())
        table = table.set_column(
            table.column_names.index("color"), "color", column.cast(kind) if kind else column
        )
        lake.write(DAY, table, f"p{i}")
    for name in ("pipeline_strict", "hgb_categories"):
        job = lake.job(name, output={"uri": f"{lake.root}/{name}"})
        assert lake.run(job).error is None
        known = models[name]
        x = frame[known.columns]
        if name == "hgb_categories":
            x = x.astype({"color": "category", "size": "category"})
        assert np.array_equal(lake.read(job)["prediction"], known.estimator.predict(x))
