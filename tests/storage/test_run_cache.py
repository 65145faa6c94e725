"""What runs keep for each other is bounded, and only what nobody writes again."""

from pathlib import Path

import pytest
from deltalake import DeltaTable

from nightscore.errors import LocationNotFoundError
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.layout import manifest_path, state_store
from nightscore.ledger.manifest_files import write_manifest
from nightscore.ledger.workspace import Workspace
from nightscore.operations.rollback import plan_rollback, roll_back
from nightscore.outputs.publish import open_publisher
from nightscore.schemas.manifest import Manifest
from nightscore.storage.run_cache import RunCache
from nightscore.storage.store import Store
from tests.support.lake import Lake
from tests.support.models import make_frame

DAYS = ["2024-02-27", "2024-02-28", "2024-02-29"]


def test_what_is_kept_is_bounded_and_the_least_asked_for_goes() -> None:
    run_cache = RunCache(max_bytes=100)
    for name in "abc":
        run_cache.put(name, name.upper(), 40)
        assert run_cache.n_bytes <= 100
        run_cache.get("b", str)
    assert [run_cache.get(name, str) for name in "abc"] == [None, "B", "C"]
    run_cache.put("d", "D", 101)
    assert run_cache.get("d", str) is None, "larger than all that may be kept"
    run_cache.put("c", "other", 1)
    assert run_cache.get("c", str) == "C", "a key has one content for ever"
    assert run_cache.get("c", int) is None
    assert run_cache.n_bytes == 80


def test_what_was_borrowed_is_nobody_else_s() -> None:
    run_cache = RunCache()
    assert run_cache.borrow("table", list) is None
    run_cache.hand_back("table", [1])
    assert run_cache.borrow("table", list) == [1]
    assert run_cache.borrow("table", list) is None
    for index in range(100):
        run_cache.hand_back("table", index)
    assert sum(run_cache.borrow("table", int) is not None for _ in range(100)) < 20


def test_what_cannot_be_read_is_asked_for_again() -> None:
    run_cache, answers = RunCache(), iter([LocationNotFoundError("gone"), "there"])

    def read() -> tuple[str, int]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer, 5

    with pytest.raises(LocationNotFoundError):
        run_cache.read_once("x", str, read)
    assert run_cache.read_once("x", str, read) == "there"
    assert run_cache.read_once("x", str, read) == "there"


def test_a_record_is_kept_once_it_says_the_end_and_read_again_if_it_changed(lake: Lake) -> None:
    lake.write(DAYS[0], make_frame(50))
    job, run_cache = lake.job(), RunCache()
    state, folder = state_store(job), f"ds={DAYS[0]}"
    done = lake.run(job, DAYS[0])

    def seen() -> tuple[Manifest | None, Manifest | None]:
        return PartitionHistory(Workspace(job, run_cache), DAYS[0]).latest()

    assert seen()[0] == done
    assert run_cache.n_bytes
    assert seen()[0] is seen()[1] is seen()[0]
    write_manifest(state, folder, done.model_copy(update={"warnings": ("added by hand",)}))
    manifest, _ = seen()
    assert manifest is not None
    assert manifest.warnings == ("added by hand",)
    before = run_cache.n_bytes
    write_manifest(state, folder, done.model_copy(update={"status": "held"}))
    assert seen() == (None, find(state, folder, done.run_id))
    write_manifest(state, folder, done.model_copy(update={"status": "rejected"}))
    assert seen() == (None, None)
    assert run_cache.n_bytes == before, "of runs that wait for a decision nothing is kept"
    state.delete([manifest_path(folder, done.run_id)])
    assert seen() == (None, None)


def find(state: Store, folder: str, run_id: str) -> Manifest:
    from nightscore.ledger.manifest_files import find_manifest

    manifest = find_manifest(state, folder, run_id)
    assert manifest is not None
    return manifest


def test_what_others_publish_and_roll_back_between_two_runs_is_seen(any_lake: Lake) -> None:
    """Runs that share what they keep are compared with the same as runs that do not."""
    for seed, day in enumerate(DAYS):
        any_lake.write(day, make_frame(300, seed=seed))
    job, run_cache = any_lake.job(), RunCache()
    first = any_lake.run(job, DAYS[0], run_cache=run_cache)
    second = any_lake.run(job, DAYS[1], run_cache=run_cache)
    assert second.drift
    assert second.drift.references["previous"] == first.run_id
    other = any_lake.run(job, DAYS[0], force=True)  # another process
    third = any_lake.run(job, DAYS[1], run_cache=run_cache, force=True)
    assert third.drift
    assert third.drift.references["previous"] == other.run_id
    assert third.replaces == second.run_id
    (item,) = plan_rollback(job, [DAYS[0]])
    assert item.target is not None
    back = roll_back(job, DAYS[0], item.target, item.live_run_id, third.started_at, any_lake.cache)
    assert back.restores == first.run_id
    fourth = any_lake.run(job, DAYS[1], run_cache=run_cache, force=True)
    assert fourth.drift
    assert fourth.drift.references["previous"] == first.run_id
    assert any_lake.run(job, DAYS[0], run_cache=run_cache).status == "unchanged"
    alone = any_lake.run(job, DAYS[1], force=True)
    assert alone.drift
    assert alone.drift.model_dump(
        exclude={"cpu_share", "profile", "table"}
    ) == fourth.drift.model_dump(exclude={"cpu_share", "profile", "table"})


def test_the_same_weekdays_are_pooled_from_what_is_kept_without_changing_it(lake: Lake) -> None:
    days = ["2024-02-01", "2024-02-08", "2024-02-15", "2024-02-22"]
    for seed, day in enumerate(days):
        lake.write(day, make_frame(300, seed=seed))
        lake.run(lake.job(), day)
    job, run_cache = lake.job(), RunCache()
    manifests = [lake.run(job, days[-1], force=True, run_cache=run_cache) for _ in range(3)]
    alone = lake.run(job, days[-1], force=True)
    for one in manifests:
        assert one.drift
        assert alone.drift
        assert one.drift.references == alone.drift.references
        assert "weekdays" in one.drift.references
        assert one.drift.findings == alone.drift.findings


def test_a_table_is_opened_once_and_brought_up_to_date(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, day in enumerate(DAYS):
        lake.write(day, make_frame(50, seed=seed))
    job, run_cache = lake.job(), RunCache()
    lake.run(job, DAYS[0], run_cache=run_cache)
    opened: list[str] = []
    real = DeltaTable.__init__

    def counted(self: DeltaTable, *arguments: object, **options: object) -> None:
        opened.append("opened")
        real(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(DeltaTable, "__init__", counted)
    versions = [
        lake.run(job, day, run_cache=run_cache, force=True).output.table_version for day in DAYS
    ]
    assert opened == []
    lake.run(job, DAYS[1], force=True)  # another process, which has nothing to go on with
    assert opened
    opened.clear()
    after = lake.run(job, DAYS[1], run_cache=run_cache, force=True)
    assert opened == []
    assert versions == [2, 3, 4]
    assert after.output.table_version == 6
    assert len(lake.read(job)) == 150


def test_another_table_in_its_place_is_noticed(lake: Lake, tmp_path: Path) -> None:
    lake.write(DAYS[0], make_frame(50))
    job, run_cache = lake.job(), RunCache()
    for _ in range(3):
        lake.run(job, DAYS[0], run_cache=run_cache, force=True)
    Path(job.output.uri).rename(tmp_path / "moved")
    publisher = open_publisher(Workspace(job, run_cache))
    assert publisher.all_live() == {}
    assert publisher.live(DAYS[0]) is None
    lake.run(job, DAYS[0], force=True)
    again = lake.run(job, DAYS[0], run_cache=run_cache, force=True)
    assert again.status == "published"
    assert again.output.table_version == 2
    assert len(lake.read(job)) == 50
