"""What a partition of 10 TB in 100,000 files asks of the driver and of the store, before and after it is scored.

Synthetic: a few real files are written (48 columns, 8 row groups, about 100 MB); each becomes a sparse file that has
its length and its footer, with a hole where its pages were, and is linked under as many names as there are files.
Listing, footers, plans, records and commits are then what they would be. No row is scored: what workers send back is
made up, in the size that it has. Footers on an object store are measured on a sample, through a proxy that answers
late; the store's and the network's own limits are not measured at all.
"""

import base64
import gc
import json
import multiprocessing
import os
import pickle
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.engine import checkpoints
from nightscore.engine.planning.memory import plan_memory
from nightscore.engine.planning.predictor_choice import PredictorChoice
from nightscore.engine.planning.shards import needed_bytes, plan_shards
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.inputs.footers import Footer, read_footers
from nightscore.inputs.jobfile import parse_job
from nightscore.inputs.partitions import (
    check_unchanged,
    find_partition,
    find_partitions,
)
from nightscore.inputs.reader import read_batches
from nightscore.inputs.validate import check_contract
from nightscore.ledger.fingerprint import fingerprint
from nightscore.ledger.layout import manifest_path, part_path, parts_store, state_store
from nightscore.ledger.manifest_files import find_manifest, list_manifests, write_manifest
from nightscore.ledger.run_record import RunRecord
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.drift.profiling import profile_of
from nightscore.outputs.publish import open_publisher
from nightscore.outputs.publisher import Publication
from nightscore.outputs.writer import WrittenPart
from nightscore.profiles.profile_spec import ProfileSpec, cut_column
from nightscore.profiles.profiler import Profiler
from nightscore.profiles.table import merge_profiles, to_bytes
from nightscore.runs.run_plan import inputs_record
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import FileRecord, OutputRecord
from nightscore.schemas.model import Feature, ModelFacts
from nightscore.schemas.partition import InputFile, Partition, Piece, Plan, Shard
from nightscore.storage.store import Store
from tests.support.seaweedfs import BUCKET, seaweedfs

DAY = "2024-02-29"
N_WORKERS = 200
N_FLOATS, N_STRINGS, N_INTEGERS = 38, 5, 4
"""Of a file's columns, beside the key; the model wants 30 of the floats."""
N_FEATURES = 30
N_GROUPS, GROUP_ROWS = 8, 40_000
N_DISTINCT = 4
LATENCY_S = 0.03
GB, MB, KB = 1 << 30, 1 << 20, 1 << 10


@dataclass
class Bench:
    """Figures by their names, in the order in which they were measured."""

    figures: dict[str, Any] = field(default_factory=dict)

    def note(self, name: str, value: Any, unit: str = "") -> None:
        """Keep and print a figure."""
        self.figures[name] = {
            "value": round(value, 4) if isinstance(value, float) else value,
            "unit": unit,
        }
        shown = f"{value:,.3g}" if isinstance(value, float) and value < 100 else f"{value:,.0f}"
        print(f"{name:62} {shown:>14} {unit}", flush=True)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Wall and CPU seconds of this process, and what it has more in memory afterwards."""
        gc.collect()
        resident = psutil.Process().memory_info().rss
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.note(f"{name}: wall", time.perf_counter() - wall, "s")
        self.note(f"{name}: CPU", time.process_time() - cpu, "s")
        gc.collect()
        self.note(
            f"{name}: memory that stays",
            max(0, psutil.Process().memory_info().rss - resident) / MB,
            "MB",
        )


def measure(n_files: int, n_remote: int) -> dict[str, Any]:
    """All figures.

    Args:
        n_files: Of the partition, about 100 MB each.
        n_remote: Of them on the S3 server.
    """
    bench = Bench()
    with tempfile.TemporaryDirectory(prefix="nightscore-ten-") as name:
        root = Path(name)
        made = _write_files(root / "features" / f"ds={DAY}", n_files, bench)
        job = _job(str(root / "features"), str(root / "predictions"))
        facts = _facts()
        partition, footers, plan, contract, tasks = _plan(job, facts, n_files, bench)
        profile = _transport(tasks, bench)
        _records(job, partition, plan, bench)
        _commit(job, plan, contract.output_schema(), bench)
        _checkpoints(job, tasks, profile, bench)
        del footers
        _remote(root, made, contract, n_remote, n_files, bench)
    return {
        "files": n_files,
        "remote": n_remote,
        "workers": N_WORKERS,
        "cores": os.cpu_count(),
        "figures": bench.figures,
    }


def show(result: dict[str, Any]) -> None:
    """They were printed one by one."""


def _write_files(folder: Path, n_files: int, bench: Bench) -> list[bytes]:
    """Files of the partition; returns small whole files of the same schema and number of row groups."""
    folder.mkdir(parents=True)
    small = []
    rng = np.random.default_rng(1)
    for i in range(N_DISTINCT):
        whole = folder.parent / f"whole-{i}"
        pq.write_table(
            _table(N_GROUPS * GROUP_ROWS, rng), whole, row_group_size=GROUP_ROWS, compression="zstd"
        )
        size = whole.stat().st_size
        with whole.open("rb") as file:
            file.seek(size - 8)
            n_footer = int.from_bytes(file.read(4), "little") + 8
            file.seek(size - n_footer)
            footer = file.read()
        first = folder / _name(i)
        with first.open("wb") as file:
            file.write(b"PAR1")
            file.seek(size - n_footer)
            file.write(footer)
        whole.unlink()
        if i == 0:
            bench.note("a file", size / MB, "MB")
            bench.note("its footer", n_footer / KB, "KB")
        target = folder.parent / "small"
        pq.write_table(_table(N_GROUPS, rng), target, row_group_size=1, compression="zstd")
        small.append(target.read_bytes())
        target.unlink()
    for i in range(N_DISTINCT, n_files):
        os.link(folder / _name(i % N_DISTINCT), folder / _name(i))
    return small


def _name(i: int) -> str:
    return f"part-{i:05d}-6f1c2a8e-93b7-4d5e-8c1f-2b7d9e4a{i:04x}.c000.zstd.parquet"


def _table(n_rows: int, rng: np.random.Generator) -> pa.Table:
    columns: dict[str, Any] = {"id": np.arange(n_rows)}
    columns |= {f"feature_{i:02d}": rng.normal(size=n_rows) for i in range(N_FLOATS)}
    columns |= {f"code_{i}": rng.integers(0, 1_000, n_rows) for i in range(N_INTEGERS)}
    names = np.array([f"value {i}" for i in range(50)])
    columns |= {f"category_{i}": names[rng.integers(0, 50, n_rows)] for i in range(N_STRINGS)}
    return pa.table(columns)


def _job(features: str, predictions: str, options: dict[str, Any] | None = None) -> ScoringJob:
    return parse_job(
        {
            "name": "ten",
            "model": "models:/churn/1",
            "registry": "sqlite:///mlflow.db",
            "input": {"uri": features, "storage_options": options or {}},
            "output": {"uri": predictions, "format": "delta"},
            "keys": ["id"],
            "workers": {"count": N_WORKERS},
            "limits": {"memory_bytes": 2 << 40},
        }
    )


def _facts() -> ModelFacts:
    return ModelFacts(
        flavor="sklearn",
        estimator="HistGradientBoostingClassifier",
        features=tuple(Feature(name=f"feature_{i:02d}", type="double") for i in range(N_FEATURES)),
        n_features=N_FEATURES,
        is_named=True,
        classes=(0, 1),
        outputs=(("prediction", "long"), ("probability", "double")),
        methods=("predict", "predict_proba"),
        model_bytes=200 << 20,
    )


def _plan(
    job: ScoringJob, facts: ModelFacts, n_files: int, bench: Bench
) -> tuple[Partition, list[Footer], Plan, Any, list[ShardTask]]:
    with bench.timed("listing"):
        partition, _ = find_partition(Workspace(job), DAY)
    assert len(partition.files) == n_files
    bench.note(
        "bytes of the partition", sum(f.size_bytes for f in partition.files) / GB / 1024, "TiB"
    )
    with bench.timed("fingerprint"):
        digest = fingerprint(job, partition, "churn", "1", "sha256:0")
    store = Store(job.input.uri)
    with bench.timed("footers, local"):
        footers = read_footers(store, partition.files)
    with bench.timed("contract"):
        contract = check_contract(job, facts, footers)
    with bench.timed("memory plan"):
        memory = plan_memory(job, PredictorChoice("", 0, 0), contract, footers, True, N_WORKERS)
    with bench.timed("shards"):
        shards = plan_shards(footers, contract.needed, N_WORKERS)
    n_rows = sum(footer.n_rows for footer in footers)
    n_bytes = sum(needed_bytes(footer, contract.needed) for footer in footers)
    plan = Plan(
        partition=partition,
        fingerprint=digest,
        n_rows=n_rows,
        n_bytes=n_bytes,
        shards=shards,
        cut_for=N_WORKERS,
        memory=memory,
    )
    bench.note("rows", n_rows / 1e9, "billions")
    bench.note("shards", len(shards))
    bench.note("bytes of a shard, at most", max(s.n_bytes for s in shards) / MB, "MB")
    bench.note("rows of a shard, at most", max(s.n_rows for s in shards))
    bench.note("pieces of a shard, at most", max(len(s.pieces) for s in shards))
    watch = _watch()
    tasks = [_task(job, facts, contract, shard, plan, watch) for shard in shards]
    return partition, footers, plan, contract, tasks


def _task(
    job: ScoringJob, facts: ModelFacts, contract: Any, shard: Shard, plan: Plan, watch: ProfileSpec
) -> ShardTask:
    return ShardTask(
        job=job,
        run_id=RunRecord(Workspace(job), DAY, datetime(2024, 3, 1, tzinfo=UTC), "1").run_id,
        folder=f"ds={DAY}",
        model_folder=Path("/var/cache/nightscore/models") / ("0" * 64),
        model_version="1",
        facts=facts,
        contract=contract,
        shard=shard,
        batch_rows=plan.memory.batch_rows,
        max_quarantined=0,
        n_rows=plan.n_rows,
        memory_bytes=1 << 30,
        cut_for=plan.cut_for,
        profile_spec=watch,
    )


def _transport(tasks: Sequence[ShardTask], bench: Bench) -> str:
    """What travels between driver and workers; returns the profile of a shard."""
    with bench.timed("pickling all tasks"):
        sizes = [len(pickle.dumps(task)) for task in tasks]
    bench.note("a task, mean", float(np.mean(sizes)) / KB, "KB")
    bench.note("a task, at most", max(sizes) / KB, "KB")
    bench.note("all tasks", sum(sizes) / MB, "MB")
    profile = _profile(tasks[0].profile_spec)
    result = _result(tasks[0], 0, profile)
    bench.note("a result", len(pickle.dumps(result)) / KB, "KB")
    bench.note(
        "all results, as the driver holds them", len(pickle.dumps(result)) * len(tasks) / MB, "MB"
    )
    with bench.timed("adding up the profiles of 200 shards"):
        merge_profiles(profile_of(result) for _ in range(200))
    return profile


def _watch() -> ProfileSpec:
    """All features and predictions."""
    features, predictions = _batch()
    columns = [("feature", features), ("prediction", predictions)]
    profiled = [
        cut_column(role, name, [table[name]])
        for role, table in columns
        for name in table.column_names
    ]  # type: ignore[arg-type]
    return ProfileSpec(tuple(profiled), score="probability")


def _profile(watch: ProfileSpec) -> str:
    """What counting them gives, as a result has it."""
    features, predictions = _batch()
    profiler = Profiler(watch)
    profiler.add(features, features.select([]), np.ones(len(features), np.bool_), predictions)
    return base64.b64encode(to_bytes(profiler.columns)).decode()


def _batch() -> tuple[pa.Table, pa.Table]:
    rng = np.random.default_rng(2)
    features = pa.table({f"feature_{i:02d}": rng.normal(size=20_000) for i in range(N_FEATURES)})
    return features, pa.table(
        {"prediction": rng.integers(0, 2, 20_000), "probability": rng.random(20_000)}
    )


def _result(task: ShardTask, index: int, profile: str) -> ShardResult:
    """With a real profile; the rest is made up."""
    part = WrittenPart(_file(task, index), _stats(task.shard.n_rows))
    return ShardResult(
        index=index,
        part=part,
        rows_in=task.shard.n_rows,
        rows_quarantined=0,
        by_reason={},
        by_column={},
        columns=(),
        examples=(),
        quarantine_files=(),
        profile=profile,
        profile_errors={},
        profile_cpu_s=1.0,
        n_unprofiled=0,
        give_up_reason="",
        wall_s=60.0,
        cpu_s=60.0,
        process_cpu_s=60.0,
        stages_s={},
        pid=1,
        peak_bytes=1,
    )


def _file(task: ShardTask, index: int) -> FileRecord:
    path = part_path(task.folder, task.run_id, index, 0)
    rows = task.shard.n_rows
    return FileRecord(path=path, size_bytes=rows * 18, rows=rows, sha256="0" * 64)


def _stats(n_rows: int) -> str:
    low = {"id": 0, "prediction": 0, "probability": 0.0123456789012345}
    high = {"id": n_rows, "prediction": 1, "probability": 0.9876543210987654}
    nulls = dict.fromkeys((*low, "model_version", "run_id"), 0)
    return json.dumps(
        {"numRecords": n_rows, "minValues": low, "maxValues": high, "nullCount": nulls}
    )


def _records(job: ScoringJob, partition: Partition, plan: Plan, bench: Bench) -> None:
    """The manifest, written as often as a run gives signs of life, and read by everyone who asks for the state."""
    record = RunRecord(Workspace(job), DAY, datetime(2024, 3, 1, tzinfo=UTC), "1")
    record.update(inputs=inputs_record(job, partition, 0))
    state = state_store(job)
    files = tuple(_file(_stub(job, record.run_id, s), s.index) for s in plan.shards)
    output = OutputRecord(uri=job.output.uri, format="delta", files=files)
    with bench.timed("manifest, a sign of life"):
        write_manifest(state, f"ds={DAY}", record.manifest)
    path = manifest_path(f"ds={DAY}", record.run_id)
    bench.note("manifest, running", state.describe(path).size_bytes / MB, "MB")
    done = record.manifest.model_copy(update={"output": output, "status": "published"})
    with bench.timed("manifest, the last word"):
        write_manifest(state, f"ds={DAY}", done)
    bench.note("manifest, published", state.describe(path).size_bytes / MB, "MB")
    with bench.timed("manifest, read"):
        assert find_manifest(state, f"ds={DAY}", record.run_id)
    for i in range(9):
        other = RunRecord(Workspace(job), DAY, datetime(2024, 3, 2 + i, tzinfo=UTC), "1")
        write_manifest(state, f"ds={DAY}", done.model_copy(update={"run_id": other.run_id}))
    with bench.timed("the records of ten such runs, read"):
        assert len(list_manifests(state)[0]) == 10
    with bench.timed("second listing (unchanged?)"):
        check_unchanged(job, partition)
    with bench.timed("listing of all partitions, as the matrix asks for"):
        find_partitions(job)


def _stub(job: ScoringJob, run_id: str, shard: Shard) -> ShardTask:
    nothing: Any = None
    return ShardTask(
        job=job,
        run_id=run_id,
        folder=f"ds={DAY}",
        model_folder=nothing,
        model_version="1",
        facts=nothing,
        contract=nothing,
        shard=shard,
        batch_rows=0,
        max_quarantined=0,
        n_rows=0,
        memory_bytes=0,
        cut_for=1,
    )


def _commit(job: ScoringJob, plan: Plan, schema: pa.Schema, bench: Bench) -> None:
    publisher = open_publisher(Workspace(job))
    live = None
    for attempt, name in enumerate(("commit, first", "commit, replacing as many parts")):
        record = RunRecord(Workspace(job), DAY, datetime(2024, 3, 1 + attempt, tzinfo=UTC), "1")
        parts = tuple(
            WrittenPart(_file(_stub(job, record.run_id, s), s.index), _stats(s.n_rows))
            for s in plan.shards
        )
        publication = Publication(
            run_id=record.run_id,
            fingerprint=plan.fingerprint,
            key="ds",
            value=DAY,
            folder=f"ds={DAY}",
            parts=parts,
            schema=schema,
        )
        with bench.timed(name):
            publisher.publish(publication, live)
        log = max((Path(job.output.uri) / "_delta_log").glob("*.json"))
        bench.note(f"{name}: object", log.stat().st_size / MB, "MB")
        with bench.timed("what is live, asked"):
            live = publisher.live(DAY)


def _checkpoints(job: ScoringJob, tasks: Sequence[ShardTask], profile: str, bench: Bench) -> None:
    sample = [replace(task, run_id=tasks[0].run_id) for task in tasks[: min(len(tasks), 1_000)]]
    parts = parts_store(job)
    for task in sample:
        path = Path(parts.locate(_file(task, task.shard.index).path))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(task.shard.n_rows * 18)
    with bench.timed(f"checkpoints of {len(sample)} shards, written"):
        for task in sample:
            checkpoints.write_checkpoint(task, _result(task, task.shard.index, profile))
    with bench.timed(f"checkpoints of {len(sample)} shards, read"):
        read_back = checkpoints._read(Workspace(job), tasks[0].run_id)
    assert len(read_back) == len(sample)


def _remote(
    root: Path, files: list[bytes], contract: Any, n_remote: int, n_files: int, bench: Bench
) -> None:
    """A sample on the S3 server; each request is answered `LATENCY_S` late."""
    (root / "weed").mkdir()
    with seaweedfs(root / "weed") as server, _late(server.endpoint) as (endpoint, n_requests):
        direct = Store(f"s3://{BUCKET}/features", server.options)
        direct.backend.fs.pipe(
            {direct.locate(f"ds={DAY}/{_name(i)}"): files[i % len(files)] for i in range(n_remote)}
        )
        far = Store(direct.uri, server.options | {"endpoint_url": endpoint})
        entries = far.list_files()
        listed = n_requests()
        bench.note(f"S3, listing {n_remote} files: requests", listed)
        sample = [InputFile(e.path, e.size_bytes, e.version) for e in entries]
        with bench.timed(f"S3, {LATENCY_S * 1000:.0f} ms: {n_remote} footers"):
            began = time.perf_counter()
            read_footers(far, sample)
            rate = n_remote / (time.perf_counter() - began)
        bench.note("S3: requests a footer", (n_requests() - listed) / n_remote)
        bench.note("S3: footers a second", rate)
        bench.note(f"S3: {n_files} footers, by that rate", n_files / rate, "s")
        before = n_requests()
        whole = Piece(sample[0], tuple(range(N_GROUPS)), 0, N_GROUPS)
        with bench.timed("S3: all rows of a file, of one row a row group"):
            batches = read_batches(far, Shard(0, (whole,), N_GROUPS, 1, True), contract, 1_024)
            assert sum(batch.n_rows for batch in batches) == N_GROUPS
        bench.note("S3: requests of a worker for a file", n_requests() - before)


@contextmanager
def _late(upstream: str) -> Iterator[tuple[str, Callable[[], int]]]:
    """A proxy in a process of its own that hands on each request after a while; its address and its count."""
    context = multiprocessing.get_context("spawn")
    ready, count = context.Queue(), context.Value("q", 0)
    process = context.Process(target=_serve, args=(upstream, ready, count), daemon=True)
    process.start()
    try:
        yield ready.get(timeout=60), lambda: int(count.value)
    finally:
        process.terminate()
        process.join()


def _serve(upstream: str, ready: Any, count: Any) -> None:
    """Pairs of sockets: what a client sends is handed on late, what the server answers at once."""
    import asyncio
    from urllib.parse import urlsplit

    host, _, port = urlsplit(upstream).netloc.partition(":")

    async def pump(source: Any, target: Any, delay_s: float) -> None:
        try:
            while block := await source.read(1 << 16):
                if delay_s and block[:4] in (b"GET ", b"HEAD", b"PUT ", b"POST"):
                    count.value += 1
                    await asyncio.sleep(delay_s)
                target.write(block)
                await target.drain()
        except OSError:
            pass
        finally:
            target.close()

    async def serve(reader: Any, writer: Any) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(
            pump(reader, upstream_writer, LATENCY_S), pump(upstream_reader, writer, 0.0)
        )

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        ready.put(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with server:
            await server.serve_forever()

    socket.setdefaulttimeout(60)
    asyncio.run(main())
