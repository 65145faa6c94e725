"""`verify` tells apart what is not as it was recorded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from deltalake import DeltaTable, write_deltalake

from nightscore.cli.app import build_app
from nightscore.errors import PartitionNotFoundError
from nightscore.ledger.layout import predictions_store, state_store
from nightscore.ledger.manifest_files import find_manifest, write_manifest
from nightscore.ledger.workspace import Workspace
from nightscore.operations.verify import Verification, verify
from nightscore.outputs.publish import open_publisher
from nightscore.schemas.job import Limits
from tests.support.lake import Lake
from tests.support.models import make_frame

DAY = "2024-02-29"
LOOSE = Limits(max_quarantined_rows=1_000).model_dump()


def check(lake: Lake, job: Any, sample: int = 500, seed: int = 0) -> Verification:
    return verify(job, DAY, lake.pool, lake.cache, sample, seed)


def kinds(verification: Verification) -> set[str]:
    return {finding.kind for finding in verification.findings}


def damage(lake: Lake, job: Any, offset: int) -> None:
    """Flip one bit of a published file."""
    live = open_publisher(Workspace(job)).live(DAY)
    assert live is not None
    store = predictions_store(job)
    content = bytearray(store.read_bytes(live.paths[0]))
    content[offset] ^= 1
    store.write_bytes(live.paths[0], bytes(content))


@pytest.mark.parametrize("model", ["hgb_binary", "logistic", "pipeline_strict"])
def test_a_partition_as_recorded_is_sound(any_lake: Lake, model: str) -> None:
    for i in range(3):
        any_lake.write(DAY, make_frame(1_111 + i, seed=i), f"p{i}", row_group_size=400)
    job = any_lake.job(model)
    manifest = any_lake.run(job)
    assert manifest.error is None
    for seed in range(6):
        verification = check(any_lake, job, 300, seed)
        assert verification.findings == ()
        assert verification.n_rows >= 300
    assert check(any_lake, job, 1_000_000).n_rows == 3_336
    assert verification.n_files == len(manifest.output.files)


def test_nothing_stays_on_the_host(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sample that is scored again holds keys and predictions."""
    lake.write(DAY, make_frame(50))
    lake.run(lake.job())
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    assert check(lake, lake.job()).n_rows == 50
    assert list(temporary.iterdir()) == []


def test_rows_are_found_again_among_quarantined_ones(lake: Lake) -> None:
    frame = make_frame(3_000)
    frame.loc[[0, 5, 700, 701, 1_500, 2_999], "a"] = np.inf
    lake.write(DAY, frame.iloc[:1_000], "p0")
    lake.write(DAY, frame.iloc[1_000:], "p1", row_group_size=300)
    job = lake.job("logistic", limits=LOOSE)
    assert lake.run(job).counts.rows_quarantined == 6
    for seed in range(8):
        assert check(lake, job, 200, seed).findings == ()


def test_a_damaged_output_is_told(any_lake: Lake) -> None:
    any_lake.write(DAY, make_frame(500))
    job = any_lake.job()
    any_lake.run(job)
    damage(any_lake, job, 100)
    verification = check(any_lake, job)
    assert kinds(verification) == {"output damaged"}
    assert not verification.is_sound


def test_rows_that_another_writer_added_are_told_and_replaced(lake: Lake) -> None:
    lake.write(DAY, make_frame(500))
    job = lake.job()
    lake.run(job)
    url = predictions_store(job).url
    write_deltalake(url, DeltaTable(url).to_pyarrow_table().slice(0, 7), mode="append")
    assert len(lake.read(job)) == 507
    (finding,) = check(lake, job).findings
    assert finding.kind == "no record"
    assert "files of no one run: " in finding.found
    assert lake.run(job).status == "published"
    assert len(lake.read(job)) == 500
    assert check(lake, job).findings == ()


def test_other_predictions_under_a_right_checksum_are_told(lake: Lake) -> None:
    lake.formats = "parquet"
    lake.write(DAY, make_frame(500))
    job = lake.job()
    manifest = lake.run(job)
    store = predictions_store(job)
    path = Path(store.locate(manifest.output.files[0].path))
    table = pq.read_table(path)
    values = table.column("probability").to_numpy().copy()
    values[7] = np.nextafter(values[7], 1)
    table = table.set_column(table.schema.get_field_index("probability"), "probability", [values])
    footer = pq.read_metadata(path).metadata
    pq.write_table(
        table.replace_schema_metadata({k: v for k, v in footer.items() if k != b"ARROW:schema"}),
        path,
    )
    file = manifest.output.files[0].model_copy(
        update={
            "sha256": store.sha256(manifest.output.files[0].path),
            "size_bytes": path.stat().st_size,
        }
    )
    output = manifest.output.model_copy(update={"files": (file,)})
    write_manifest(state_store(job), f"ds={DAY}", manifest.model_copy(update={"output": output}))
    verification = check(lake, job, 1_000)
    assert kinds(verification) == {"predictions differ"}
    assert "1 rows differ" in verification.findings[0].found
    assert "first in row 7" in verification.findings[0].expected


def test_a_changed_input_model_or_library_is_told(lake: Lake, tmp_path: Path) -> None:
    lake.write(DAY, make_frame(500))
    job = lake.job()
    manifest = lake.run(job)
    record = find_manifest(state_store(job), f"ds={DAY}", manifest.run_id)
    assert record is not None
    aged = record.model_copy(update={"libraries": record.libraries | {"scikit-learn": "0.1"}})
    write_manifest(state_store(job), f"ds={DAY}", aged)
    verification = check(lake, job)
    assert kinds(verification) == {"library changed"}
    assert verification.is_sound  # a note: the same rows give the same bits
    assert verification.n_rows >= 500
    other = record.model_copy(
        update={"model": record.model.model_copy(update={"digest": "sha256:0"})}
    )
    write_manifest(state_store(job), f"ds={DAY}", other)
    verification = check(lake, job)
    assert (kinds(verification), verification.n_rows) == ({"model changed"}, 0)
    write_manifest(state_store(job), f"ds={DAY}", record)
    lake.write(DAY, make_frame(501))
    verification = check(lake, job)
    assert (kinds(verification), verification.n_rows) == ({"input changed"}, 0)
    assert verification.findings[0].where == f"ds={DAY}/part-0.parquet"


def test_nothing_published_and_no_record(lake: Lake) -> None:
    lake.write(DAY, make_frame(10))
    job = lake.job()
    with pytest.raises(PartitionNotFoundError, match="Nothing is published"):
        check(lake, job)
    manifest = lake.run(job)
    state_store(job).delete([f"runs/ds={DAY}/{manifest.run_id}.json"])
    assert kinds(check(lake, job)) == {"no record"}


def test_by_command(lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake.write(DAY, make_frame(100))
    job = lake.job()
    lake.run(job)
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job.model_dump(mode="json")))
    arguments = ["verify", str(path), DAY, "--sample", "50", "--cache-dir", str(lake.cache.root)]
    assert build_app()([*arguments, "--json"], standalone_mode=False) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["is_sound"], printed["findings"]) == (True, [])
    damage(lake, job, 50)
    assert build_app()(arguments, standalone_mode=False) == 1
    assert "output damaged" in capsys.readouterr().out
