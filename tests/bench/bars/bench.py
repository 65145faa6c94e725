"""Where bars are measured: the workloads' data and models, jobs of them, and commands that run in turns."""

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nightscore.inputs.jobfile import load_job
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from tests.bench.bars.results import Comparison, Spent
from tests.bench.bars.sizes import Sizes
from tests.bench.engine import ours
from tests.bench.engine.measure import TIMEOUT_S, command_environment, peer_way
from tests.bench.engine.peers import PEERS
from tests.bench.engine.process_tree import Cost, Ran, run_measured
from tests.bench.engine.workloads import Workload, features_folder, model_folder

PEER_BY_NAME = {peer.name: peer for peer in PEERS}
READ_BYTES = 1 << 22


@dataclass
class Way:
    """A command that runs in turns with others."""

    command: list[str]
    environment: Mapping[str, str]
    before: Callable[[], None] = lambda: None
    """What is done before each run, and is not measured."""
    check: Callable[[Ran], object] = lambda ran: None
    """Raises if the command has not done what it should."""
    output: Path = Path()
    """Folder of its predictions, where that is of use."""
    most_runs: int = sys.maxsize
    """It takes part in no more rounds than this."""
    costs: list[Cost] = field(default_factory=list)

    @property
    def wall_s(self) -> float:
        """The median, as of the other two."""
        return statistics.median(cost.wall_s for cost in self.costs)

    @property
    def cpu_s(self) -> float:
        return statistics.median(cost.cpu_s for cost in self.costs)

    @property
    def peak_bytes(self) -> float:
        return statistics.median(cost.peak_bytes for cost in self.costs)


def run_in_turns(ways: Mapping[str, Way], repeats: int) -> None:
    """Run each way once a round, unless it has run often enough, and keep what it cost."""
    for _ in range(repeats):
        for name, way in ways.items():
            if len(way.costs) >= way.most_runs:
                continue
            way.before()
            os.sync()  # what others have written is not to be paid for here
            ran = run_measured(way.command, way.environment, timeout_s=TIMEOUT_S)
            if ran.cost.exit_code:
                raise RuntimeError(f"{name}: {ran.output[-1_000:]} {ran.errors[-2_000:]}")
            way.check(ran)
            way.costs.append(ran.cost)
            cost = ran.cost
            memory = f"{cost.peak_bytes / 1e6:.0f} MB"
            print(f"  {name}: {cost.wall_s:.2f} s, {cost.cpu_s:.2f} CPU s, {memory}", flush=True)


class Bench:
    """One measurement of bars. They share a registry, and the cache of this host."""

    def __init__(self, sizes: Sizes, folder: Path, root: Path) -> None:
        """Register nothing yet.

        Args:
            sizes: How much is measured.
            folder: Where data and models are kept from one measurement to the next.
            root: An empty folder for all that is written meanwhile.
        """
        self.sizes, self.root = sizes, root
        self._data, self._models = folder / "data", folder / "models"
        for path in (self._data, self._models):
            path.mkdir(parents=True, exist_ok=True)
        self.stage = self._shared_stage = ours.open_stage(root)
        self.comparisons: list[Comparison] = []
        """What the bar that is being measured has timed side by side."""
        self._registered: set[str] = set()
        self._warmed: set[str] = set()

    @contextmanager
    def measuring(self, bar: int) -> Iterator[None]:
        """A folder for one bar: what it has written is gone before the next."""
        shared = self._shared_stage
        with tempfile.TemporaryDirectory(prefix=f"bar-{bar}-", dir=shared.root) as place:
            self.root = Path(place)
            self.stage = replace(shared, root=self.root)
            self.comparisons = []
            yield

    def use_cold_cache(self) -> None:
        """From here to the end of the bar, nothing that other bars have built is found."""
        self.stage = replace(self.stage, cache=self.root / "cold-cache")

    def compare(self, title: str, workload: Workload, ways: Mapping[str, Way]) -> None:
        """Keep the times of ways that have run side by side, for tables and pictures."""
        spent = {
            name: Spent(way.wall_s, way.cpu_s, way.peak_bytes, len(way.costs))
            for name, way in ways.items()
        }
        self.comparisons.append(Comparison(title, workload.n_rows, workload.n_partitions, spent))

    def warm_up(self, job: Path, workload: Workload) -> None:
        """Have what a host has that has run the model before: its compiled form, machine code.

        The files are read once, so that the first way does not wait for the disk in place of the
        others.
        """
        for path in sorted(self.features(workload).rglob("*.parquet")):
            _read_through(path)
        if workload.name in self._warmed:
            return
        command = ours.command(self.stage, "warm", str(job))
        run_in_turns({"nightscore warm, not counted": Way(command, self.environment())}, 1)
        self._warmed.add(workload.name)

    def environment(self, **more: str) -> dict[str, str]:
        """Of our commands and of bare scripts."""
        return command_environment(more, self.stage.registry)

    def features(self, workload: Workload) -> Path:
        """Folder of a workload's partitions."""
        return features_folder(workload, self._data).absolute()

    def model(self, workload: Workload) -> Path:
        """The MLflow folder of a workload's model."""
        return model_folder(workload, self._models).absolute()

    def write_job(
        self, name: str, workload: Workload, features: Path | None = None, **changes: Any
    ) -> Path:
        """A job file; its model is registered and pinned if it is not yet.

        Args:
            name: Of the job.
            workload: Names model and key.
            features: Folder of the partitions; None: the workload's own.
            changes: Keys of the job file; `format` is that of the output.
        """
        if workload.name not in self._registered:
            ours.register_models(self.stage, {workload.name: self.model(workload)})
            self._registered.add(workload.name)
        place = self.features(workload) if features is None else features
        output = {
            "uri": str(ours.output_folder(self.stage, name)),
            "format": changes.pop("format", "delta"),
        }
        return ours.write_job(self.stage, name, workload, place, output=output, **changes)

    def run_way(self, job: Path, workload: Workload, **environment: str) -> Way:
        """`nightscore run` of a workload's first partition, which is published for the first time."""
        command = ours.run_command(self.stage, job, workload.days[0])
        return self._our_way(job, command, environment)

    def backfill_way(self, job: Path, workload: Workload) -> Way:
        """`nightscore backfill` of all partitions, none of which is published."""
        return self._our_way(job, ours.backfill_command(self.stage, job, workload.days), {})

    def peer_way(self, name: str, workload: Workload, features: Path | None = None) -> Way:
        """A peer on the same files, or on those of another folder."""
        place = self.features(workload) if features is None else features
        peer = PEER_BY_NAME[name]
        way = peer_way(peer, workload, self.root, self.model(workload), place)
        output = way.output
        return Way(
            way.command,
            way.environment,
            lambda: shutil.rmtree(output, ignore_errors=True),
            output=output,
        )

    def cached_model(self, job: Path) -> Path:
        """Where the cache of this host has a job's model."""
        return PinnedModel.resolve(load_job(str(job)), ModelCache(self.stage.cache)).cached.path

    def clear(self, job: Path) -> None:
        """Remove what a job has published, with its records."""
        output = ours.output_folder(self.stage, job.stem)
        for path in (output, output.with_name(f"{output.name}.nightscore")):
            shutil.rmtree(path, ignore_errors=True)

    def clear_cache(self) -> None:
        """Make this host cold: neither model nor machine code is cached."""
        shutil.rmtree(self.stage.cache, ignore_errors=True)

    def _our_way(self, job: Path, command: list[str], environment: Mapping[str, str]) -> Way:
        return Way(
            command,
            self.environment(**environment),
            lambda: self.clear(job),
            ours.read_manifests,
            ours.output_folder(self.stage, job.stem),
        )


def _read_through(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(READ_BYTES):
            pass
