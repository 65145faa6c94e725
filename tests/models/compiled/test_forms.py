"""A compiled form that points outside, or that others could have written, is made again and not used."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from nightscore.errors import ModelStructureError
from nightscore.models.cache import ModelCache
from nightscore.models.compiled.flat import FlatFileError, read_form, write_form
from nightscore.models.compiled.forest import Forest, SplitTrees, Tree, WalkedTrees
from nightscore.models.compiled.forest_structure import CODES
from nightscore.models.compiled.form_cache import CachedForm
from nightscore.models.compiled.form_structure import form_problems
from nightscore.models.compiled.layout import lay_out
from nightscore.models.loading import LoadedModel, compile_model, inspect_model
from nightscore.operations.verify import verify
from nightscore.schemas.manifest import PredictorRecord
from tests.support.lake import Lake
from tests.support.models import KnownModel, make_frame
from tests.support.tree_data import facts_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 3))
MIXED = pd.DataFrame(
    {"color": RNG.choice(["red", "blue", "green"], 400), "a": X[:, 0], "b": X[:, 1]}
)
DAY = "2024-02-29"


def made(estimator: Any, *, is_named: bool = False) -> Any:
    return compile_model(estimator, facts_of(estimator, is_named=is_named))


@pytest.fixture(scope="module")
def split() -> Any:
    model = HistGradientBoostingRegressor(
        max_iter=3, max_leaf_nodes=5, categorical_features="from_dtype"
    )
    form = made(
        model.fit(MIXED.astype({"color": "category"}), X[:, 0] + 9 * (MIXED.color == "red")),
        is_named=True,
    )
    assert form.forest.trees.word[0] >= 0
    return form


@pytest.fixture(scope="module")
def walked() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "nightscore.models.compiled.layout.SPLIT_NODES_PER_LEVEL", dict.fromkeys(CODES, 0)
        )
        form = made(RandomForestRegressor(3, random_state=0).fit(X, X[:, 0] * X[:, 1]))
    assert isinstance(form.forest.trees, WalkedTrees)
    return form


@pytest.fixture(scope="module")
def linear() -> Any:
    front = make_column_transformer((OneHotEncoder(), ["color"]), (StandardScaler(), ["a", "b"]))
    return made(make_pipeline(front, LinearRegression()).fit(MIXED, X[:, 0]), is_named=True)


def encoded() -> Any:
    front = make_column_transformer((OrdinalEncoder(), ["color"]), (StandardScaler(), ["a", "b"]))
    model = make_pipeline(front, HistGradientBoostingRegressor(max_iter=2))
    return made(model.fit(MIXED, X[:, 0]), is_named=True)


def test_forms_that_were_made_are_sound(
    split: Any, walked: Any, linear: Any, tmp_path: Path
) -> None:
    leaf = made(HistGradientBoostingRegressor(max_iter=2).fit(X, np.zeros(400)))
    for i, form in enumerate((split, walked, linear, leaf, encoded())):
        assert form_problems(form) == []
        write_form(form, tmp_path / f"{i}.flat")
        assert form_problems(read_form(tmp_path / f"{i}.flat")) == []
        assert (tmp_path / f"{i}.flat").stat().st_mode & 0o077 == 0


def trees(**changes: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Change arrays of the trees of a form."""

    def act(form: Any) -> Any:
        changed = {
            name: change(getattr(form.forest.trees, name)) for name, change in changes.items()
        }
        inner = dataclasses.replace(form.forest.trees, **changed)
        return dataclasses.replace(form, forest=dataclasses.replace(form.forest, trees=inner))

    return act


def forest(**values: Any) -> Callable[[Any], Any]:
    return lambda form: dataclasses.replace(form, forest=dataclasses.replace(form.forest, **values))


def put(value: Any, *place: int) -> Callable[[Any], Any]:
    def act(array: Any) -> Any:
        array = np.array(array)
        array[place or (0,)] = value
        return array

    return act


SPLIT_FAULTS: list[Callable[[Any], Any]] = [
    trees(feature=put(64 * 3)),
    trees(feature=put(-64)),
    trees(feature=put(1)),
    trees(feature=lambda a: a.astype(np.int64)),
    trees(left=put(0)),
    trees(left=put(10_000)),
    trees(left=put(-1)),
    trees(right=put(1)),
    trees(jump=put(200)),
    trees(jump=put(0)),
    trees(cut=lambda a: a[:-1]),
    trees(shift=put(9)),
    trees(word=put(10_000)),
    trees(word=put(-5)),
    trees(words=lambda a: a[:0]),
    trees(n_words=lambda _: 1_000),
    trees(n_words=lambda _: -1),
    trees(first_node=put(1_000, -1)),
    trees(first_node=put(2)),
    trees(first_leaf=put(1_000, -1)),
    trees(values=lambda a: a[:-1]),
    trees(values=lambda a: np.hstack([a, a])),
    trees(values=lambda a: a.astype(np.float32)),
    trees(column=put(1)),
    trees(column=put(-1)),
    trees(column=lambda a: a[:-1]),
    trees(most_nodes=lambda _: 1),
    trees(most_nodes=lambda n: n + 1),
    trees(code=lambda _: np.dtype(np.uint32)),
    trees(n_levels=lambda levels: tuple(n + 1 for n in levels)),
    trees(keys=lambda keys: keys[:-1]),
    trees(keys=lambda keys: (*keys[:-1], keys[-1][:8])),
    trees(keys=lambda keys: (*keys[:1], keys[1][::-1].copy(), *keys[2:])),
    trees(keys=lambda keys: (*keys[:-1], np.full_like(keys[-1], 1.0))),
    forest(n_features=2),
    forest(n_features=-1),
    forest(n_features="3"),
    forest(base=np.empty(0)),
    forest(base=np.zeros(1, np.float32)),
    forest(number="float16"),
    forest(n_categories={9: 3}),
    forest(n_categories={0: 1 << 40}),
    forest(trees=None),
    lambda form: dataclasses.replace(form, forest=None),
    lambda form: dataclasses.replace(form, link=None),
    lambda form: dataclasses.replace(
        form, link=dataclasses.replace(form.link, function="os.system")
    ),
    lambda form: dataclasses.replace(form, branches=form.branches[:-1]),
    lambda form: dataclasses.replace(form, branches=(*form.branches, form.branches[0])),
    lambda form: dataclasses.replace(
        form, branches=(dataclasses.replace(form.branches[0], start=50),)
    ),
    lambda form: dataclasses.replace(form, rules="xgboost"),
    lambda form: None,
]


@pytest.mark.parametrize("change", SPLIT_FAULTS)
def test_a_broken_form_of_split_trees(
    split: Any, change: Callable[[Any], Any], tmp_path: Path
) -> None:
    assert isinstance(split.forest.trees, SplitTrees)
    assert form_problems(change(split))
    write_form(change(split), tmp_path / "form.flat")
    with pytest.raises(FlatFileError):
        read_form(tmp_path / "form.flat")


WALKED_FAULTS: list[Callable[[Any], Any]] = [
    trees(nodes=put(10_000, 0, 2)),
    trees(nodes=put(-1, 0, 2)),
    trees(nodes=put(0, 0, 2)),
    trees(nodes=put(64 * 3, 0, 1)),
    trees(nodes=put(-64, 0, 1)),
    trees(nodes=put(7, 0, 3)),
    trees(nodes=put(0, -1, 0)),
    trees(nodes=lambda a: a[:, :3].copy()),
    trees(nodes=lambda a: a.astype(np.int64)),
    trees(nodes=lambda a: np.asfortranarray(a)),
    trees(root=put(5)),
    trees(root=put(10_000, -1)),
    trees(root=lambda a: a[:0]),
    trees(depth=put(1)),
    trees(depth=put(1 << 60)),
    trees(depth=put(-1)),
    trees(values=lambda a: a[:-1]),
    trees(column=put(3)),
    trees(key=lambda _: np.dtype(np.int64)),
    forest(number="float64"),
    forest(n_categories={0: 2}),
]


@pytest.mark.parametrize("change", WALKED_FAULTS)
def test_a_broken_form_of_walked_trees(walked: Any, change: Callable[[Any], Any]) -> None:
    assert form_problems(change(walked))


def of_branch(place: int, **values: Any) -> Callable[[Any], Any]:
    def act(form: Any) -> Any:
        branches = list(form.branches)
        branches[place] = dataclasses.replace(branches[place], **values)
        return dataclasses.replace(form, branches=tuple(branches))

    return act


def test_a_broken_form_of_a_linear_model(linear: Any) -> None:
    (table,) = linear.branches[0].tables
    steps = linear.branches[1].numbers[0]

    def with_table(**values: Any) -> Callable[[Any], Any]:
        return of_branch(0, tables=(dataclasses.replace(table, **values),))

    def with_steps(**values: Any) -> Callable[[Any], Any]:
        return of_branch(1, numbers=(dataclasses.replace(steps, **values),) * 2)

    changes: list[Callable[[Any], Any]] = [
        with_table(rows=np.hstack([table.rows, table.rows])),
        with_table(rows=table.rows.astype(np.float32)),
        with_table(rows=table.rows[:1]),
        with_table(missing=99),
        with_table(other=-2),
        with_table(other="x"),
        with_steps(steps=np.array([9])),
        with_steps(steps=np.array([1]), numbers=np.empty(0)),
        with_steps(scale="1"),
        of_branch(1, numbers=(steps,)),
        of_branch(1, numbers=(None, None)),
        of_branch(0, tables=(None,)),
        of_branch(0, columns=(-1,)),
        of_branch(0, widths=(1 << 40,)),
        of_branch(0, start=1),
        lambda form: dataclasses.replace(form, weights=form.weights[:, :-1]),
        lambda form: dataclasses.replace(form, weights=form.weights[0]),
        lambda form: dataclasses.replace(form, intercept=np.zeros(3)),
        lambda form: dataclasses.replace(
            form, link=dataclasses.replace(form.link, classes=np.arange(9))
        ),
    ]
    for change in changes:
        assert form_problems(change(linear))


def test_columns_that_the_tables_do_not_have(linear: Any, tmp_path: Path) -> None:
    n_columns = 1 + max(column for branch in linear.branches for column in branch.columns)
    assert form_problems(linear, n_columns) == []
    assert f"expected 0 to {n_columns - 2}" in form_problems(linear, n_columns - 1)[0]
    write_form(linear, tmp_path / "form.flat")
    with pytest.raises(FlatFileError):
        read_form(tmp_path / "form.flat", n_columns - 1)


def test_a_file_that_is_no_form(split: Any, tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "form.flat"
    odd_type = {"form": [], "arrays": [["f8,,", [1], 0]]}
    endless = {"form": [], "arrays": [["f8", [0, 1 << 60, 1 << 60], 0]]}
    for header in (
        {"form": [], "arrays": []},
        odd_type,
        endless,
        {"form": {"kind": "Path", "fields": {}}, "arrays": []},
        [],
        "x",
    ):
        content = json.dumps(header).encode() + b"\n" + b"\0" * 64
        path.write_bytes(hashlib.sha256(content).hexdigest().encode() + content)
        path.chmod(0o600)
        with pytest.raises(FlatFileError):
            read_form(path)
    deep = b'{"form":' + b"[" * 100_000 + b"\n"
    for content in (b"", b"x", hashlib.sha256(deep).hexdigest().encode() + deep):
        path.write_bytes(content)
        with pytest.raises(FlatFileError):
            read_form(path)


def test_the_layout_walks_no_tree_that_is_none() -> None:
    def tree(left: list[int], right: list[int], **more: Any) -> Tree:
        n_nodes = len(left)
        nothing = np.zeros(n_nodes)
        values: dict[str, Any] = {"feature": nothing.astype(np.int64), "threshold": nothing, **more}
        return Tree(
            left=np.array(left), right=np.array(right), missing_left=nothing.astype(np.bool_),
            values=nothing.reshape(-1, 1), **values,
        )  # fmt: skip

    def forest(one: Tree, column: int = 0, n_categories: dict[int, int] | None = None) -> Forest:
        return Forest(
            trees=(one,),
            n_features=1,
            column=(column,),
            base=np.zeros(1),
            number="float64",
            n_categories=n_categories or {},
        )

    def refused(one: Tree, column: int = 0, n_categories: dict[int, int] | None = None) -> str:
        with pytest.raises(ModelStructureError) as caught:
            lay_out(forest(one, column, n_categories))
        return str(caught.value)

    sound = tree([1, -1, -1], [2, -1, -1])
    assert lay_out(forest(sound))
    assert "adds to sum 1" in refused(sound, 1)
    assert "adds to sum -1" in refused(sound, -1)
    assert "a node leads here" in refused(tree([0, -1, -1], [2, -1, -1]))
    assert "left 7" in refused(tree([7, -1, -1], [2, -1, -1]))
    assert "feature 4" in refused(tree([1, -1, -1], [2, -1, -1], feature=np.array([4, 0, 0])))
    assert "expected codes from 0 to 2" in refused(
        tree([1, -1, -1], [2, -1, -1], categories={0: [3]}), 0, {0: 3}
    )
    assert "categories of nodes" in refused(
        tree([1, -1, -1], [2, -1, -1], categories={9: [0]}), 0, {0: 3}
    )
    assert "arrays of 3 nodes" in refused(tree([1, -1, -1], [2, -1]))


@pytest.fixture
def kept(
    registry_root: Path, models: dict[str, KnownModel], tmp_path: Path
) -> tuple[CachedForm, Any]:
    """The form of a model of the registry, in a cache of its own; and the model's folder and facts."""
    import shutil

    folder = tmp_path / "cache" / "model"
    shutil.copytree(registry_root / "models" / "hgb_binary", folder)
    facts = inspect_model(folder)
    cached = CachedForm.for_model(folder, facts)
    cached.note(PredictorRecord(engine="compiled", checked_rows=7))
    assert cached.read() is not None
    assert cached.checked is not None
    return cached, (folder, facts)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_form_in_a_folder_that_others_can_write_to_is_not_used(
    kept: tuple[CachedForm, Any], mode: int
) -> None:
    form, (folder, facts) = kept
    form.note(PredictorRecord(engine="library", has_differed=True, why="somebody says so"))
    form.stem.parent.chmod(mode)

    assert form.is_shared
    assert form.read() is None
    assert form.checked is None
    assert form.differs == ""
    assert form.n_bytes == 0
    before = sorted(form.stem.parent.iterdir())
    model = LoadedModel(folder, facts)  # makes its own, and compares it with the library
    assert model.form is not None
    assert model.checked is None
    assert sorted(form.stem.parent.iterdir()) == before


def test_a_file_that_others_can_write_to_is_made_again(kept: tuple[CachedForm, Any]) -> None:
    form, (folder, facts) = kept
    path = form.stem.with_name(form.stem.name + ".flat")
    path.chmod(0o666)
    assert form.read() is None
    LoadedModel(folder, facts)
    assert path.stat().st_mode & 0o777 == 0o600
    assert form.read() is not None


def swap(cache: Path) -> None:
    """Write another model's answers where the compiled form is, by who may write there."""
    (path,) = (cache / "forms").glob("*.flat")
    form: Any = read_form(path)
    inner = dataclasses.replace(form.forest.trees, values=-np.array(form.forest.trees.values))
    path.unlink()
    write_form(
        dataclasses.replace(form, forest=dataclasses.replace(form.forest, trees=inner)), path
    )


def test_verify_does_not_ask_the_form_that_the_run_has_used(lake: Lake, tmp_path: Path) -> None:
    lake.cache = ModelCache(tmp_path / "cache")
    lake.write(DAY, make_frame(300))
    job = lake.job(engine="auto")
    first = lake.run(job)
    assert first.predictor
    assert first.predictor.engine == "compiled"
    assert verify(job, DAY, lake.pool, lake.cache, 200, 0).is_sound

    swap(tmp_path / "cache")
    assert lake.run(job, force=True).status == "published"
    findings = verify(job, DAY, lake.pool, lake.cache, 200, 0).findings
    assert {finding.kind for finding in findings} == {"predictions differ"}


def test_a_run_says_that_the_cache_is_shared(lake: Lake, tmp_path: Path) -> None:
    lake.cache = ModelCache(tmp_path / "cache")
    lake.write(DAY, make_frame(300))
    job = lake.job(engine="auto")
    lake.run(job)
    before = lake.read(job)
    swap(tmp_path / "cache")
    (tmp_path / "cache" / "forms").chmod(0o777)

    manifest = lake.run(job, force=True)

    assert any(
        "others can write to" in warning and "chmod" in warning for warning in manifest.warnings
    )
    assert manifest.predictor
    assert manifest.predictor.engine == "compiled"
    columns = [name for name in before.columns if name.startswith("prob")] or ["prediction"]
    assert before[columns].equals(lake.read(job)[columns])
