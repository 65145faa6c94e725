"""Files become visible in one step, or wait for a review."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.errors import InputError
from nightscore.ledger.layout import checkpoints_folder
from nightscore.ledger.live import Live
from nightscore.ledger.manifest_files import find_manifest
from nightscore.runs.execution import Execution
from nightscore.runs.publishing import finish_parts, hold, publish
from nightscore.schemas.contract import Contract, InputColumn
from tests.runs.conftest import part, result, run_plan


def contract_with_key() -> Contract:
    key = InputColumn("id", pa.int64())
    return Contract(features=(), passthrough=(key,), predictions=(), has_position=False)


def test_parts_are_published_in_the_order_of_the_shards(execution: Execution) -> None:
    execution.results.scored += [result(2), result(0)]
    execution.results.resumed.append(result(1))
    parts = finish_parts(execution, run_plan(execution, n_shards=3))
    paths = [one.file.path for one in parts]
    assert paths == [one.part.file.path for one in execution.results.in_order()]
    files = execution.record.manifest.output.files
    assert [file.path for file in files] == paths


def test_a_partition_without_rows_has_a_file_without_rows(execution: Execution) -> None:
    plan = run_plan(execution, n_shards=0, contract=contract_with_key())
    (empty,) = finish_parts(execution, plan)
    assert empty.file.rows == 0
    schema = pq.read_schema(execution.workspace.parts.open_input(empty.file.path))
    assert schema.names[0] == "id"


def test_without_any_columns_there_is_nothing_to_publish(execution: Execution) -> None:
    assert finish_parts(execution, run_plan(execution, n_shards=0)) == ()


def test_predictions_of_a_partition_whose_files_are_gone_stay(execution: Execution) -> None:
    plan = run_plan(execution, n_shards=0, live=Live("run", ("x",), "1"))
    with pytest.raises(InputError, match="The partition has no files, and readers see"):
        finish_parts(execution, plan)


def test_a_held_run_is_recorded_and_leaves_no_checkpoints(execution: Execution) -> None:
    path = f"{checkpoints_folder(execution.run_id)}/00000.json"
    execution.workspace.state.write_bytes(path, b"x")
    plan = run_plan(execution)
    manifest = hold(execution, plan)
    assert manifest.status == "held"
    assert find_manifest(execution.workspace.state, execution.folder, execution.run_id) == manifest
    assert not execution.workspace.state.exists(path)
    assert plan.drift_check.n_stored == 1


def test_a_publication_replaces_exactly_what_was_planned(execution: Execution) -> None:
    live = Live("run", ("x",), "1")
    plan = run_plan(execution, live=live)
    placed = part("a", 1)
    publish(execution, plan, (placed,))
    ((publication, planned),) = plan.publisher.published
    assert planned is live
    assert publication.run_id == execution.run_id

    output = execution.record.manifest.output
    assert (output.files, output.table_version) == ((placed.file,), 7)
    assert execution.committing is plan.publisher, "from now on its files must stay"
    stored = find_manifest(execution.workspace.state, execution.folder, execution.run_id)
    assert stored is not None
    assert stored.status == "prepared", "the record says so before readers may see the files"
