"""Random faults over a backfill until there were enough of them; then the table must be complete and right.

Each round scores a few partitions in a command of its own, on an S3 server behind a faulty network, while drivers and
workers are killed at random; between rounds inputs change. All of it follows from the seed, but for the moments that
the machine chooses.
"""

import random
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psutil

from nightscore.engine.backends.local import WorkerPool
from nightscore.models.cache import ModelCache
from nightscore.operations.clean import clean
from tests.faults.conftest import IMPATIENT
from tests.faults.invariants import check_partitions, check_records, check_secrets
from tests.faults.test_kills import is_worker, job_file, start, wait_until_gone
from tests.support.lake import Lake
from tests.support.models import KnownModel, make_frame, register_models
from tests.support.proxy import Proxy, Rule, faulty
from tests.support.seaweedfs import S3_KEY, S3_SECRET, seaweedfs

START = date(2024, 2, 20)
ROWS = 3_000
AT_ONCE = 2
PATIENCE_S = 120.0


@dataclass
class Soak:
    """The state of a soak test."""

    seed: int
    n_days: int
    lake: Lake
    behind: Lake
    proxy: Proxy
    models: dict[str, KnownModel]
    folder: Path
    say: Callable[[str], None]
    inputs: dict[str, list[object]] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)

    @property
    def days(self) -> list[str]:
        return [str(START + timedelta(days=i)) for i in range(self.n_days)]

    def run(self, n_faults: int, n_kills: int) -> None:
        """Until so many network faults were injected and so many processes killed."""
        rng = random.Random(self.seed)
        for day in self.days:
            self._write(day, rng)
        path = job_file(self.behind, self.behind.job(), self.folder)
        round_ = 0
        while self.seen["faults"] < n_faults or self.seen["kills"] < n_kills:
            round_ += 1
            wants_kills = self.seen["kills"] < n_kills
            rules = _rules(rng) if self.seen["faults"] < n_faults or not wants_kills else []
            with self.proxy.doing(*rules) as doing:
                threads = [
                    threading.Thread(
                        target=self._one,
                        args=(path, rng.choice(self.days), rng.random(), wants_kills),
                    )
                    for _ in range(AT_ONCE)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            self.seen["faults"] += sum(rule.n_done for rule in doing)
            self.check()
            if rng.random() < 0.3:
                self._write(rng.choice(self.days), rng)
            if round_ % 20 == 0:
                clean(
                    self.lake.job(),
                    datetime.now(UTC) + timedelta(seconds=5),
                    timedelta(0),
                    delete=True,
                )
                self.check()
                self.say(f"round {round_}: {self.summary()}")

    def settle(self) -> None:
        """Nothing goes wrong any more: one backfill completes the table."""
        for day in self.days:
            manifest = self.lake.run(self.lake.job(), day)
            assert manifest.error is None, manifest.error
        checked = self.check()
        assert checked == {day: len(frames) - 1 for day, frames in self.inputs.items()}
        check_secrets(self.lake.job(), S3_SECRET, S3_KEY)

    def check(self) -> dict[str, int]:
        job = self.lake.job()
        check_records(job)
        return check_partitions(self.lake, job, self.inputs, self.models["hgb_binary"].estimator)  # type: ignore[arg-type]

    def summary(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in sorted(self.seen.items()))

    def _write(self, day: str, rng: random.Random) -> None:
        frame = make_frame(ROWS + rng.randrange(200), seed=rng.randrange(10_000))
        for i in range(2):
            part = frame.iloc[i * len(frame) // 2 : (i + 1) * len(frame) // 2]
            self.lake.write(day, part, f"p{i}", write_page_checksum=True)
        self.inputs.setdefault(day, []).append(frame)

    def _one(self, path: Path, day: str, moment: float, wants_kills: bool) -> None:
        """A command on one partition, which may be killed, or have its workers killed."""
        process = start(self.behind, path, day=day)
        family: list[psutil.Process] = []
        if wants_kills:
            time.sleep(0.3 + moment * 2.5)  # the moment of the kill is the subject
            if process.poll() is None:
                family = psutil.Process(process.pid).children(recursive=True)
                workers = [child for child in family if is_worker(child)]
                if moment * 100 % 1 < 0.3 and workers:
                    workers[0].kill()
                else:
                    process.kill()
                self.seen["kills"] += 1
        try:
            process.communicate(timeout=PATIENCE_S)
        except TimeoutError as error:
            raise AssertionError(f"{day}: the run hangs") from error
        wait_until_gone(family)
        self.seen[f"ended with {process.returncode}"] += 1


def _rules(rng: random.Random) -> list[Rule]:
    """One or two kinds of trouble."""
    kinds = [
        Rule("status", probability=0.1),
        Rule("status", status=500, probability=0.1),
        Rule("status", status=429, probability=0.1),
        Rule("reset before", probability=0.1),
        Rule("reset after", probability=0.1),
        Rule(
            "reset after",
            method="PUT",
            path=r"_delta_log/\d{20}\.json|predictions\.parquet$",
            times=2,
        ),
        Rule("truncate", method="GET", probability=0.1),
        Rule("stall", probability=0.02, times=2),
        Rule("status", status=403, first=rng.randrange(40), times=5),
        Rule("status", first=rng.randrange(40), times=40),
        Rule("flip", method="GET", path=r"features.*\.parquet", first=2, times=1),
    ]
    return rng.sample(kinds, rng.randint(1, 2))


def _register(folder: Path) -> tuple[str, dict[str, KnownModel]]:
    folder.mkdir()
    models = register_models(folder)
    return f"sqlite:///{folder}/mlflow.db", models


def soak(
    seed: int,
    n_faults: int,
    n_kills: int,
    n_days: int,
    formats: str,
    say: Callable[[str], None] = lambda text: None,
    registered: tuple[str, dict[str, KnownModel]] | None = None,
) -> Soak:
    """Run one to its end.

    Args:
        seed: What it follows from.
        n_faults: How many network faults at least.
        n_kills: How many processes are killed at least.
        n_days: Number of partitions.
        formats: Format of the predictions.
        say: Takes a line on each twentieth round.
        registered: A registry and the models in it; None: one is made.

    Raises:
        AssertionError: A promise was broken; the seed repeats it.
    """
    with tempfile.TemporaryDirectory(prefix="nightscore-soak-") as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        (folder / "weed").mkdir()
        registry, models = registered or _register(folder / "registry")
        with (
            seaweedfs(folder / "weed") as server,
            faulty(server.endpoint, seed) as proxy,
            WorkerPool() as pool,
        ):
            cache = ModelCache(folder / "cache")
            options = server.options | {"endpoint_url": proxy.endpoint, "config_kwargs": IMPATIENT}
            lake = Lake("s3://lake/soak", server.options, registry, pool, cache, formats)
            behind = Lake("s3://lake/soak", options, registry, pool, cache, formats)
            soaked = Soak(seed, n_days, lake, behind, proxy, models, folder, say)
            soaked.run(n_faults, n_kills)
            soaked.settle()
            return soaked
