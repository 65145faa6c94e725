"""Challengers score the champion's batches, and it never learns of what becomes of them."""

import contextlib
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from nightscore.engine.remote import child
from nightscore.engine.remote.calls import Call, ModelSource, pack
from nightscore.engine.remote.missing_models import without_missing
from nightscore.engine.remote.requirements import process_versions
from nightscore.engine.shard import ChallengerResult, ShardResult, ShardTask
from nightscore.engine.worker import challenger_failures, row_isolation
from nightscore.engine.worker.begun_shards import begin_ahead, keep_begun, take_begun
from nightscore.engine.worker.challenger_failures import ChallengerEndedError, check_overhead
from nightscore.engine.worker.shard_scoring import score_shard
from nightscore.errors import CorruptFileError, ModelNotFoundError
from nightscore.ledger.layout import parts_store, state_store
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.models.registries.uris import shared_uri
from nightscore.profiles.profile_spec import NO_PROFILE
from tests.support.challengers import (
    DAY,
    MisbehavingModel,
    challenger_job,
    clock,
    counted,
    read_part,
    register_misbehaving_model,
    whole_task,
    with_challengers,
)
from tests.support.lake import Lake
from tests.support.models import make_frame
from tests.support.shared import with_machine_code

N_ROWS = 500
BATCH_ROWS = 200


@pytest.fixture(scope="module")
def misbehaving(registry: str, tmp_path_factory: pytest.TempPathFactory) -> MisbehavingModel:
    return register_misbehaving_model(registry, tmp_path_factory.mktemp("misbehaving"))


@pytest.fixture(autouse=True)
def nothing_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has ended in another test is unknown."""
    monkeypatch.setattr(challenger_failures, "_ended", type(challenger_failures._ended)())


def champion_of(lake: Lake, model: str = "hgb_binary", **changes: Any) -> ShardTask:
    task = whole_task(lake, lake.job(model, **changes), "champion-run")
    return replace(task, batch_rows=BATCH_ROWS)


def challenger_of(lake: Lake, model: str, **changes: Any) -> ShardTask:
    task = whole_task(lake, challenger_job(lake, model, **changes), f"{model}-run")
    return replace(task, batch_rows=BATCH_ROWS)


def facts_of(result: ShardResult) -> dict[str, Any]:
    """What a run stores of a shard, but for times and sizes of memory."""
    return {
        "rows": (result.rows_in, result.rows_quarantined),
        "why": (result.by_reason, result.by_column, result.examples),
        "part": result.part,
        "quarantine": result.quarantine_files,
        "columns": result.columns,
        "profile": counted(result),
        "profile_errors": (result.profile_errors, result.n_unprofiled),
        "sample": result.sample_files,
        "predictor": result.predictor.engine,
    }


def only(result: ShardResult) -> ChallengerResult:
    (challenger,) = result.challengers
    return challenger


def complete(challenger: ChallengerResult) -> ShardResult:
    assert challenger.failure == ""
    assert challenger.result is not None
    return challenger.result


def files_of(task: ShardTask) -> list[str]:
    """Parts and quarantined rows of a task's job."""
    state = state_store(task.job)
    files = [*parts_store(task.job).list_files(), *state.list_files("quarantine")]
    return [file.path for file in files if task.run_id in file.path]


@pytest.mark.parametrize(
    ("champion", "challenger"),
    [
        ("hgb_binary", "logistic"),
        ("logistic", "hgb_ints"),
        ("hgb_binary", "pipeline_ordinal"),
        ("pipeline_onehot", "hgb_categories"),
        ("hgb_binary", "forest_numpy"),
    ],
)
def test_both_predict_what_each_predicts_alone_bit_for_bit(
    lake: Lake, champion: str, challenger: str
) -> None:
    lake.write(DAY, make_frame(300))
    lake.write(DAY, make_frame(200, seed=1), name="part-1")
    first, second = champion_of(lake, champion), challenger_of(lake, challenger)
    alone, second_alone = score_shard(first), score_shard(second)
    alone_rows, second_rows = read_part(first, alone), read_part(second, second_alone)

    together = with_challengers(first, second)
    result = score_shard(together)
    its_own = complete(only(result))
    rows = read_part(together.challengers[0], its_own)

    assert facts_of(result) == facts_of(alone)
    assert read_part(first, result).equals(alone_rows)

    champion_names = [f"champion_{column.name}" for column in first.contract.predictions]
    assert rows.drop_columns(champion_names).equals(second_rows)
    for column in first.contract.predictions:
        assert rows.column(f"champion_{column.name}").equals(alone_rows.column(column.name))

    without_part = {"part"}
    assert {name: fact for name, fact in facts_of(its_own).items() if name not in without_part} == {
        name: fact for name, fact in facts_of(second_alone).items() if name not in without_part
    }
    assert only(result).cpu_s > only(result).predict_cpu_s > 0
    assert set(its_own.stages_s) >= {"load", "cast", "predict", "profile", "write"}


def test_rows_that_either_refuses_are_told_apart(lake: Lake, misbehaving: MisbehavingModel) -> None:
    frame = make_frame(N_ROWS)
    frame["b"] = frame["b"].where(frame["b"] < 1)
    lake.write(DAY, frame)
    first, second = champion_of(lake, "logistic"), challenger_of(lake, misbehaving.name)
    misbehaving.does("refuse")
    alone = score_shard(first)

    together = with_challengers(first, second)
    result = score_shard(together)
    its_own = complete(only(result))
    rows = read_part(together.challengers[0], its_own).to_pandas()

    assert facts_of(result) == facts_of(alone)
    is_scored = frame["a"] >= 0
    assert rows["id"].tolist() == frame["id"][is_scored].tolist()
    assert rows["prediction"].tolist() == (2 * frame["a"][is_scored]).tolist()

    by_champion = read_part(first, alone).to_pandas().set_index("id")["probability"]
    expected = by_champion.reindex(rows["id"]).tolist()
    assert rows["champion_probability"].equals(pd.Series(expected))
    assert 0 < rows["champion_probability"].isna().sum() < len(rows)

    is_refused_alone = frame["b"].notna() & ~is_scored
    assert only(result).n_refused_alone == is_refused_alone.sum() > 0
    assert its_own.by_reason == {"model_error": int((~is_scored).sum())}
    (quarantined,) = its_own.quarantine_files
    assert quarantined.rows == (~is_scored).sum()


@pytest.mark.parametrize(
    ("behaviour", "failure"),
    [
        ("raise", "the model refuses every row that was tried: KeyError: 'no such customer'"),
        ("exit", "it raised SystemExit: out of patience"),
        ("memory", "it needs more memory than the shard has beside the champion"),
        ("short", "another shape"),
        ("late", "it is too slow: its predictions took 60.0 s"),
    ],
)
def test_a_challenger_that_fails_costs_the_champion_nothing(
    lake: Lake,
    misbehaving: MisbehavingModel,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: str,
    failure: str,
) -> None:
    lake.write(DAY, make_frame(N_ROWS))
    first, second = champion_of(lake), challenger_of(lake, misbehaving.name)
    alone = score_shard(first)

    monkeypatch.setattr(row_isolation, "BISECTION_SLACK", 10)
    misbehaving.does(behaviour)
    together = with_challengers(first, replace(second, max_quarantined=0))
    result = score_shard(together, clock)

    assert facts_of(result) == facts_of(alone)
    assert failure in only(result).failure
    assert only(result).result is None
    assert files_of(together.challengers[0]) == [], "nothing is left of it"


def test_one_that_fails_leaves_the_other_alone(lake: Lake, misbehaving: MisbehavingModel) -> None:
    lake.write(DAY, make_frame(N_ROWS))
    first, good = champion_of(lake), challenger_of(lake, "logistic")
    good_alone = score_shard(good)

    misbehaving.does("short")
    bad = challenger_of(lake, misbehaving.name)
    result = score_shard(with_challengers(first, bad, good))

    failed, scored = result.challengers
    assert failed.result is None
    assert complete(scored).rows_in == good_alone.rows_in
    assert counted(complete(scored)) == counted(good_alone)


def test_a_challenger_may_take_a_multiple_of_the_champions_time(
    lake: Lake, misbehaving: MisbehavingModel
) -> None:
    lake.write(DAY, make_frame(N_ROWS))
    first, second = champion_of(lake, misbehaving.name), challenger_of(lake, misbehaving.name)
    misbehaving.does("late")

    as_slow = score_shard(with_challengers(first, second), clock)
    assert complete(only(as_slow)).rows_in == N_ROWS

    strict = replace(first, max_overhead=0.5)
    too_slow = score_shard(with_challengers(strict, second), clock)
    assert "(release.max_overhead: 0.5)" in only(too_slow).failure
    assert too_slow.rows_in == N_ROWS


@pytest.mark.parametrize(("seconds", "is_slow"), [(5.0, False), (9.0, False), (9.1, True)])
def test_a_challenger_has_some_seconds_in_any_case(seconds: float, is_slow: bool) -> None:
    expected = pytest.raises(ChallengerEndedError) if is_slow else contextlib.nullcontext()
    with expected:
        check_overhead(seconds, 2.0, 2.0)


@pytest.mark.parametrize("trial", [{"attempt": 1}, {"n_hung": 1}])
def test_a_shard_that_is_tried_again_has_no_challengers(lake: Lake, trial: dict[str, int]) -> None:
    lake.write(DAY, make_frame(N_ROWS))
    first, second = champion_of(lake), challenger_of(lake, "logistic")
    result = score_shard(replace(with_challengers(first, second), **trial))
    assert result.rows_in == N_ROWS
    assert only(result).result is None
    assert only(result).failure == challenger_failures.TRIED_AGAIN


def test_a_challenger_that_has_ended_in_one_shard_scores_no_other(
    lake: Lake, misbehaving: MisbehavingModel
) -> None:
    lake.write(DAY, make_frame(N_ROWS))
    together = with_challengers(champion_of(lake), challenger_of(lake, misbehaving.name))
    misbehaving.does("exit")
    score_shard(together)

    misbehaving.does("well")
    again = only(score_shard(together))
    assert again.failure.startswith("it has ended in another shard: it raised SystemExit")
    another_run = replace(together.challengers[0], run_id="another-run")
    assert complete(only(score_shard(replace(together, challengers=(another_run,)))))


def test_a_column_that_only_the_challenger_reads_may_be_damaged(lake: Lake) -> None:
    lake.write(DAY, make_frame(N_ROWS))
    damage(Path(f"{lake.features.uri}/ds={DAY}/part-0.parquet"), "count")
    first, second = champion_of(lake), challenger_of(lake, "hgb_ints")
    alone = score_shard(first)
    with pytest.raises(CorruptFileError):
        score_shard(second)

    result = score_shard(with_challengers(first, second))
    assert facts_of(result) == facts_of(alone)
    assert only(result).result is None
    assert "scored without them: A file cannot be decoded" in only(result).failure


def test_what_was_scored_ahead_goes_on_with_challengers(lake: Lake) -> None:
    lake.write(DAY, make_frame(N_ROWS))
    first, second = champion_of(lake), challenger_of(lake, "hgb_ints")
    plain = with_challengers(first, replace(second, profile_spec=NO_PROFILE))
    together = with_challengers(first, second)
    at_once = score_shard(together)

    with ThreadPoolExecutor(1) as threads:
        shard, _ = threads.submit(begin_ahead, plain).result()
    keep_begun([(plain, shard)])
    assert take_begun(first) is None, "its challengers are others"

    keep_begun([(plain, shard)])
    ahead = score_shard(together)
    assert facts_of(ahead) == facts_of(at_once)
    assert facts_of(complete(only(ahead))) == facts_of(complete(only(at_once)))
    assert ahead.cpu_s > 0
    assert only(ahead).cpu_s > 0


def test_a_champion_without_memory_is_first_scored_without_challengers(
    lake: Lake, misbehaving: MisbehavingModel
) -> None:
    lake.write(DAY, make_frame(N_ROWS))
    first, second = champion_of(lake, misbehaving.name), challenger_of(lake, "logistic")
    alone = score_shard(first)

    misbehaving.does("memory once")
    result = score_shard(with_challengers(first, second))
    assert facts_of(result) == facts_of(alone)
    assert "it was scored without them" in only(result).failure


def test_a_node_that_cannot_get_a_challengers_model_scores_without_it(
    lake: Lake, tmp_path: Path, machine_code: Path
) -> None:
    lake.write(DAY, make_frame(N_ROWS))
    first, second = champion_of(lake), challenger_of(lake, "logistic")
    together = with_challengers(first, second)
    alone = score_shard(first)

    node = child._Node(ModelCache(with_machine_code(tmp_path / "node", machine_code)))
    there, gone = source_of(lake, first), source_of(lake, second)
    gone = replace(gone, version=replace(gone.version, location=str(tmp_path / "gone")))
    sources = {first.model_folder: there, second.model_folder: gone}
    payload = pack(score_shard, [together], sources)
    reply = node.answer(Call("1", payload, process_versions(), {}), "a worker")
    result = pickle.loads(reply.content)

    assert facts_of(result) == facts_of(alone)
    assert "This node of the cluster cannot get the model" in only(result).failure


def test_a_node_that_cannot_get_the_champions_model_says_so(lake: Lake, tmp_path: Path) -> None:
    lake.write(DAY, make_frame(N_ROWS))
    first, second = champion_of(lake), challenger_of(lake, "logistic")
    together = with_challengers(first, second)
    error = ModelNotFoundError("There is no such model.")

    for arguments in ([first.model_folder], [together], [[together], "columns"]):
        with pytest.raises(ModelNotFoundError):
            without_missing(arguments, {first.model_folder: error})

    (tasks, text) = without_missing([[together], "columns"], {second.model_folder: error})
    assert text == "columns"
    assert tasks[0].challengers[0].end_reason == "There is no such model."


def source_of(lake: Lake, task: ShardTask) -> ModelSource:
    model = PinnedModel.resolve(task.job, lake.cache)
    return ModelSource(model.version, shared_uri(model.registry), model.cached.digest)


def damage(path: Path, column: str) -> None:
    """Spoil the pages of a column; the file's size and footer stay."""
    with pq.ParquetFile(path) as file:
        chunk = file.metadata.row_group(0).column(file.schema_arrow.names.index(column))

    content = bytearray(path.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)
