"""Where new bins are cut for several shards, no batch is read or predicted twice."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nightscore.engine.model_facts import learn_facts
from nightscore.engine.planning.plan import PlannedWorkers, plan_partition
from nightscore.engine.scratch import ScratchRun, scratch_job
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.engine.worker import batch_source, worker_model
from nightscore.engine.worker.begun_shards import begin_ahead, keep_begun, take_begun
from nightscore.engine.worker.bin_sampling import Bins, sample_bins
from nightscore.engine.worker.shard_scoring import score_shard
from nightscore.errors import InputError
from nightscore.inputs.partitions import find_partition
from nightscore.ledger.workspace import Workspace
from nightscore.models.loading import LoadedModel
from nightscore.models.pinned import PinnedModel
from nightscore.profiles.profile_spec import ProfileSpec, cut_column
from nightscore.profiles.table import Role, from_stream
from nightscore.schemas.partition import Shard
from tests.support.lake import Lake
from tests.support.models import make_frame

DAY = "2024-02-29"
COLUMNS: list[tuple[Role, str]] = [("feature", "a"), ("prediction", "probability")]


@pytest.fixture
def tasks(lake: Lake) -> list[ShardTask]:
    """Two shards of 300 rows, in batches of 200."""
    for i in range(2):
        lake.write(DAY, make_frame(300, seed=i), name=f"part-{i}")

    job = scratch_job(lake.job(), f"{lake.root}/scratch")
    model = PinnedModel.resolve(job, lake.cache)
    facts = learn_facts(model, lake.cache, lake.pool)
    partition, _ = find_partition(Workspace(job), DAY)
    plan, contract = plan_partition(job, model, facts, partition, PlannedWorkers(1, lake.pool))

    (whole,) = plan.shards
    shards = [
        Shard(i, (piece,), piece.n_rows, whole.n_bytes // 2, is_last=i == 1)
        for i, piece in enumerate(whole.pieces)
    ]
    run = ScratchRun(job, "a-run", model, facts)
    made = run.tasks(plan, contract, shards)
    return [replace(task, batch_rows=200, in_threads=True) for task in made]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each batch that is read."""
    sizes: list[int] = []
    original = batch_source.read_batches

    def counted(*arguments: Any) -> Iterator[Any]:
        for batch in original(*arguments):
            sizes.append(batch.n_rows)
            yield batch

    monkeypatch.setattr(batch_source, "read_batches", counted)
    return sizes


def with_bins(tasks: Sequence[ShardTask], bins: Bins) -> list[ShardTask]:
    spec = ProfileSpec(*bins)
    return [replace(task, profile_spec=spec) for task in tasks]


def counts(result: ShardResult) -> list[str]:
    """The profile of each column, in words."""
    return [str(column) for column in from_stream(result.counted)]


def test_bins_are_those_of_the_first_batch_and_each_batch_is_read_once(
    tasks: list[ShardTask], read: list[int]
) -> None:
    _, first = begin_ahead(tasks[0])
    assert first is not None
    assert first.output is not None
    read.clear()

    bins = sample_bins(tasks, COLUMNS, ())
    a, probability = bins[0]
    assert read == [200, 200], "the first batch of each shard"
    expected_a = cut_column("feature", "a", [first.batch.features.column("a")])
    expected = cut_column("prediction", "probability", [first.output.column("probability")])
    for cut, wanted in ((a, expected_a), (probability, expected)):
        assert cut.edges is not None
        assert wanted.edges is not None
        assert cut.edges.equals(wanted.edges)
        assert cut.bounds == wanted.bounds

    ahead = [score_shard(task) for task in with_bins(tasks, bins)]
    assert read == [200, 200, 100, 100], "the other batches"

    anew = [score_shard(task) for task in with_bins(tasks, bins)]
    assert len(read) == 8, "nobody has begun these"
    for one, other in zip(ahead, anew, strict=True):
        assert one.part.file.sha256 == other.part.file.sha256
        assert (one.columns, counts(one)) == (other.columns, counts(other))
        assert one.cpu_s > 0
        assert one.stages_s.keys() == other.stages_s.keys()


def test_what_was_scored_ahead_is_for_one_run_and_one_attempt(tasks: list[ShardTask]) -> None:
    task, other = tasks
    shard, _ = begin_ahead(task)
    keep_begun([(task, shard)])
    assert take_begun(replace(task, attempt=1)) is None
    assert take_begun(replace(task, batch_rows=100)) is None, "it did not fit into memory"
    assert take_begun(other) is None
    assert take_begun(replace(task, row_counts="a path")) is shard
    assert take_begun(task) is None, "it is used once"

    keep_begun([(task, shard)])
    keep_begun([(replace(other, run_id="another-run"), shard)])
    assert take_begun(task) is None, "its run has ended"
    keep_begun([])


def test_shards_in_other_processes_find_nothing_and_keep_no_memory(tasks: list[ShardTask]) -> None:
    apart = [replace(task, in_threads=False) for task in tasks]
    sample_bins(apart[:1], COLUMNS, ())
    assert take_begun(apart[0]) is None


def test_a_shard_beside_the_first_that_fails_says_so_in_its_turn(
    tasks: list[ShardTask], lake: Lake
) -> None:
    first, second = tasks
    (piece,) = second.shard.pieces
    gone = replace(piece, file=replace(piece.file, path=f"ds={DAY}/gone.parquet"))
    second = replace(second, shard=replace(second.shard, pieces=(gone,)))

    bins = sample_bins([first, second], COLUMNS, ())
    assert take_begun(first) is not None
    assert take_begun(second) is None
    with pytest.raises(InputError):
        score_shard(with_bins([second], bins)[0])


def test_a_compiled_model_is_loaded_ahead_if_an_earlier_run_has_compared_it(
    tasks: list[ShardTask], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    task = tasks[0]
    score_shard(task)  # it compares, if nobody has
    monkeypatch.setattr(worker_model, "_worker_models", type(worker_model._worker_models)())
    made: list[Path] = []

    def counted(folder: Path, *others: Any) -> LoadedModel:
        made.append(folder)
        return LoadedModel(folder, *others)

    monkeypatch.setattr(worker_model, "LoadedModel", counted)
    worker_model.load_compiled(tmp_path / "unknown", task.facts)
    assert made == [], "nothing is compiled ahead"

    worker_model.load_compiled(task.model_folder, task.facts)
    assert made == [task.model_folder]
    score_shard(task)
    assert made == [task.model_folder], "the shard finds the model"
