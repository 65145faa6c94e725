"""The contract of model flavors. Each runs this suite; see `nightscore.models.flavor`.

A new flavor is one file in `models/flavors` and one more case here.
"""

import os
import pickle
import pkgutil
import re
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nightscore.engine.planning.environment import (
    library_versions,
    recorded_versions,
    version_warnings,
)
from nightscore.engine.remote.requirements import MODEL_LIBRARIES, REQUIRED
from nightscore.errors import ModelError, ModelLoadError
from nightscore.models import flavors
from nightscore.models.cache import ModelCache, digest_tree
from nightscore.models.flavor import Flavor
from nightscore.models.flavor_catalog import (
    FALLBACK,
    flavor_named,
    flavor_of,
    register_flavor,
    registered,
)
from nightscore.models.loading import LoadedModel, inspect_model, unlisted_types
from nightscore.models.loading_steps import Kind
from nightscore.models.mlmodel import read_mlmodel
from nightscore.models.trust import check_trust, loading_steps
from nightscore.schemas.model import ModelFacts
from tests.fakes import tiny_flavor
from tests.fakes.pool import InProcessPool
from tests.fakes.registry import URI, stub_registry
from tests.support.lake import Lake
from tests.support.shared import with_machine_code

ROOT = Path(__file__).parents[2]
NAMES = ["a", "b"]
BUILT_IN = {module.name for module in pkgutil.iter_modules(flavors.__path__)}
N_ROWS = 70
DAY = "2024-02-29"


class Doubled:
    """What a pyfunc model of the user's own may be."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        """Twice the first column."""
        return model_input["a"].to_numpy() * 2


def training_frame() -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(5)
    x = pd.DataFrame(rng.normal(size=(200, len(NAMES))), columns=NAMES)
    return x, (x.a + x.b > 0).to_numpy().astype("int64")


def _save_sklearn(folder: Path) -> None:
    import mlflow.sklearn
    from sklearn.ensemble import HistGradientBoostingClassifier

    x, y = training_frame()
    model = HistGradientBoostingClassifier(max_iter=3).fit(x, y)
    signature = mlflow.models.infer_signature(x, model.predict(x))
    mlflow.sklearn.save_model(
        model,
        folder,
        signature=signature,
        serialization_format="skops",
        skops_trusted_types=[
            "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
            "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
            "sklearn._loss.link.Interval",
            "sklearn._loss.link.LogitLink",
            "sklearn._loss.loss.HalfBinomialLoss",
            "sklearn._loss._loss.CyHalfBinomialLoss",
        ],
        pip_requirements=["scikit-learn"],
    )


def _save_lightgbm(folder: Path) -> None:
    import lightgbm
    import mlflow.lightgbm

    x, y = training_frame()
    parameters = {"objective": "binary", "verbose": -1, "num_threads": 1}
    model = lightgbm.train(parameters, lightgbm.Dataset(x, y), 3)
    signature = mlflow.models.infer_signature(x, model.predict(x))
    mlflow.lightgbm.save_model(model, folder, signature=signature, pip_requirements=["lightgbm"])


def _save_xgboost(folder: Path) -> None:
    import mlflow.xgboost
    import xgboost

    x, y = training_frame()
    matrix = xgboost.DMatrix(x, y)
    model = xgboost.train({"objective": "binary:logistic", "nthread": 1}, matrix, 3)
    signature = mlflow.models.infer_signature(x, model.predict(matrix))
    mlflow.xgboost.save_model(model, folder, signature=signature, pip_requirements=["xgboost"])


def _save_onnx(folder: Path) -> None:
    import mlflow.onnx
    from skl2onnx import to_onnx
    from sklearn.linear_model import LinearRegression

    x, y = training_frame()
    model = LinearRegression().fit(x.to_numpy(), y.astype(float))
    graph = to_onnx(model, x.to_numpy(np.float32)[:1])
    signature = mlflow.models.infer_signature(x, model.predict(x.to_numpy()))
    mlflow.onnx.save_model(graph, folder, signature=signature, pip_requirements=["onnxruntime"])


def _save_pyfunc(folder: Path) -> None:
    import mlflow.pyfunc

    class Model(Doubled, mlflow.pyfunc.PythonModel):
        """Pickled by value, since it is a class of a function."""

    x, _ = training_frame()
    signature = mlflow.models.infer_signature(x, x.a.to_numpy() * 2)
    mlflow.pyfunc.save_model(
        folder, python_model=Model(), signature=signature, pip_requirements=["mlflow"]
    )


@dataclass(frozen=True)
class Case:
    """A flavor, and how one of its models is saved."""

    flavor: str
    save: Callable[[Path], None]
    data: str
    """The file that a test may break."""


CASES = [
    Case("sklearn", _save_sklearn, "model.skops"),
    Case("lightgbm", _save_lightgbm, "model.lgb"),
    Case("xgboost", _save_xgboost, "model.ubj"),
    Case("onnx", _save_onnx, "model.onnx"),
    Case("python_function", _save_pyfunc, "python_model.pkl"),
    Case("tiny", tiny_flavor.save, "weights.json"),
]


@dataclass(frozen=True)
class Saved:
    """A model of a flavor in the cache, as a pinned version is."""

    case: Case
    folder: Path

    @property
    def flavor(self) -> Flavor:
        return flavor_named(self.case.flavor)

    def facts(self) -> ModelFacts:
        return inspect_model(self.folder, is_vouched=True)


@pytest.fixture(autouse=True)
def tiny() -> Iterator[None]:
    with registered(tiny_flavor.FLAVOR):
        yield


@pytest.fixture(scope="module", params=CASES, ids=[case.flavor for case in CASES])
def saved(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, machine_code: Path
) -> Saved:
    case: Case = request.param
    root = tmp_path_factory.mktemp(case.flavor)
    source = root / "source"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case.save(source)

    cache = ModelCache(with_machine_code(root / "cache", machine_code))
    cached = cache.get(case.flavor, source, lambda folder: None, digest_tree(source))
    assert cached.is_pinned
    return Saved(case, cached.path)


def rows(n_rows: int, *, with_nulls: bool = False) -> pa.Table:
    rng = np.random.default_rng(6)
    columns = {name: rng.normal(size=N_ROWS)[:n_rows] for name in NAMES}
    table = pa.table(columns)
    if with_nulls:
        nulls = pa.array([None] * n_rows, pa.float64())
        table = table.set_column(1, "b", nulls)
    return table


def test_every_flavor_has_a_case() -> None:
    cases = {case.flavor for case in CASES}
    assert cases == BUILT_IN | {tiny_flavor.FLAVOR.name}


def test_a_flavor_claims_its_own_models(saved: Saved) -> None:
    assert flavor_of(read_mlmodel(saved.folder)).name == saved.case.flavor


def test_loading_steps_are_known_without_loading(saved: Saved) -> None:
    mlmodel = read_mlmodel(saved.folder)
    steps = loading_steps(mlmodel)
    assert steps
    assert {step.kind for step in steps} <= {*get_args(Kind)}
    check_trust(mlmodel, "m", is_pinned=True, allow_pickle=False, allow_code=())


def test_safe_models_hold_no_unlisted_types(saved: Saved) -> None:
    assert unlisted_types(saved.folder) == []


def test_facts_say_what_the_flavor_declares(saved: Saved) -> None:
    facts, flavor = saved.facts(), saved.flavor
    assert facts.flavor == flavor.name
    assert [feature.name for feature in facts.features] == NAMES
    assert facts.pads_batches == flavor.pads_batches
    assert facts.releases_gil == flavor.releases_gil(facts)
    assert facts.takes_frames == flavor.takes_frames
    assert facts.enforces_signature == flavor.enforces_signature
    assert "predict" in facts.methods
    assert facts.fallback_reason or flavor.compile is not None


def test_facts_survive_the_cache_and_the_way_to_a_worker(saved: Saved) -> None:
    facts = saved.facts()
    assert ModelFacts.model_validate_json(facts.model_dump_json()) == facts
    assert pickle.loads(pickle.dumps(facts)) == facts


@pytest.mark.parametrize("n_rows", [0, 1, N_ROWS])
def test_every_row_gets_one_prediction(saved: Saved, n_rows: int) -> None:
    predictor = LoadedModel(saved.folder, saved.facts(), "the test says so").library_predictor()
    whole = predictor.predict(rows(N_ROWS), ())["prediction"].copy()
    answer = predictor.predict(rows(n_rows), ())["prediction"]
    assert answer.shape == (n_rows, 1)
    assert answer.dtype == whole.dtype
    np.testing.assert_allclose(answer, whole[:n_rows], rtol=1e-6)


def test_a_null_is_scored_or_refused_but_never_dropped(saved: Saved) -> None:
    predictor = LoadedModel(saved.folder, saved.facts(), "the test says so").library_predictor()
    try:
        answer = predictor.predict(rows(3, with_nulls=True), ())
    except (ValueError, TypeError):
        return
    assert len(answer["prediction"]) == 3


def test_two_threads_have_buffers_of_their_own(saved: Saved) -> None:
    model = LoadedModel(saved.folder, saved.facts(), "the test says so")
    first, second = model.library_predictor(), model.library_predictor()
    answer = first.predict(rows(N_ROWS), ())["prediction"]
    copy = answer.copy()
    second.predict(rows(1), ())
    np.testing.assert_array_equal(answer, copy)


@pytest.mark.slow
def test_a_compiled_form_gives_the_librarys_predictions(saved: Saved) -> None:
    facts = saved.facts()
    if facts.fallback_reason:
        assert saved.flavor.compile is None
        return
    model = LoadedModel(saved.folder, facts)
    own = model.library_predictor()
    compiled = model.compiled_predictor(own)
    expected = own.predict(rows(N_ROWS), ())["prediction"].copy()
    answer = compiled.predict(rows(N_ROWS), ())["prediction"]
    np.testing.assert_allclose(answer, expected, rtol=compiled.tolerance or 1e-15)


@pytest.mark.parametrize("content", [b"", b"\x00 this is not a model"])
def test_a_broken_file_is_refused(saved: Saved, tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "broken"
    for path in saved.folder.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(saved.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (folder / saved.case.data).write_bytes(content)

    with pytest.raises(ModelError) as caught:
        inspect_model(folder, is_vouched=True)
    assert str(folder) in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).what == caught.value.what


def test_a_missing_file_is_refused(saved: Saved, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_bytes((saved.folder / "MLmodel").read_bytes())
    with pytest.raises(ModelLoadError):
        inspect_model(tmp_path, is_vouched=True)


def test_a_job_scores_with_a_flavor_that_only_its_test_knows(tmp_path: Path) -> None:
    tiny_flavor.save(tmp_path / "model")
    frame = pd.DataFrame({"id": range(200), "a": np.arange(200.0), "b": np.arange(200.0) % 7})

    with stub_registry() as registry, InProcessPool() as pool:
        registry.add("mine", tmp_path / "model")
        cache = ModelCache(tmp_path / "cache")
        lake = Lake(str(tmp_path / "lake"), {}, URI, pool, cache)  # type: ignore[arg-type]
        lake.write(DAY, frame)
        job = lake.job("mine")
        manifest = lake.run(job, DAY)

    assert manifest.status == "published"
    assert manifest.model is not None
    assert (manifest.model.flavor, manifest.model.estimator) == ("tiny", "Tiny")
    scores = lake.read(job).sort_values("id")["prediction"]
    np.testing.assert_array_equal(scores, 2 * frame.a - frame.b)


def test_libraries_that_a_flavor_declares_are_compared_and_recorded() -> None:
    facts = ModelFacts(flavor="declares", estimator="Tiny", trained_with={"typer": "0.1"})
    assert version_warnings(facts) == []
    assert "typer" not in recorded_versions(facts)

    with registered(replace(tiny_flavor.FLAVOR, name="declares", libraries=("typer",))):
        (warning,) = version_warnings(facts)
        assert warning.startswith("the model was trained with typer 0.1, this run uses ")
        assert [*recorded_versions(facts)] == [*library_versions(), "typer"]


@pytest.mark.parametrize("name", ["lightgbm", "onnx", "python_function", "sklearn", "xgboost"])
def test_manifests_have_the_libraries_that_they_always_had(name: str) -> None:
    facts = ModelFacts(flavor=name, estimator="")
    assert [*recorded_versions(facts).items()] == [*library_versions().items()]


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_libraries_of_a_flavor_are_the_same_on_every_worker(name: str) -> None:
    assert {*flavor_named(name).libraries} <= {*REQUIRED, *MODEL_LIBRARIES}


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_libraries_of_a_flavor_can_be_installed_and_are_documented(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"].get(name, [])
    offered = {re.split(r"[^\w.-]", line)[0] for line in [*project["dependencies"], *extra]}
    lines = (ROOT / "deploy" / "constraints.txt").read_text().splitlines()
    # xgboost-cpu is xgboost under another name, and the smaller one of the two.
    constrained = {line.partition("==")[0].removesuffix("-cpu") for line in lines}

    libraries = {*flavor_named(name).libraries}
    assert libraries <= offered
    assert libraries <= constrained

    readme = (ROOT / "README.md").read_text()
    documented = "pyfunc" if name == FALLBACK else f"mlflow.{name}"
    assert f"`{documented}`" in readme, "a row of the table of models"
    if extra:
        installed = ",".join(re.findall(r"pip install 'nightscore\[([a-z,]+)\]'", readme))
        assert name in installed.split(",")


def test_a_flavor_of_another_distribution_is_an_entry_point(tmp_path: Path) -> None:
    tiny_flavor.save(tmp_path / "model")
    installed = tmp_path / "site" / "tiny-1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(
        "[nightscore.flavors]\ntiny = tests.fakes.tiny_flavor:FLAVOR\nbad = tests.fakes:NOTHING\n"
    )
    code = f"""
from pathlib import Path
from nightscore.errors import ModelLoadError
from nightscore.models.flavor_catalog import find_flavor
from nightscore.models.loading import inspect_model

assert inspect_model(Path({str(tmp_path / "model")!r})).flavor == "tiny"
try:
    find_flavor("bad")
except ModelLoadError as error:
    assert "tests.fakes:NOTHING" in str(error), error
else:
    raise AssertionError("a broken entry point went unnoticed")
"""
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT), str(ROOT / ".src")])
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": path})


def test_a_name_in_a_models_file_is_never_imported(tmp_path: Path) -> None:
    tiny_flavor.save(tmp_path)
    text = (tmp_path / "MLmodel").read_text()
    (tmp_path / "MLmodel").write_text(text.replace("  tiny:", "  antigravity: {}\n  ..cache:"))
    assert flavor_of(read_mlmodel(tmp_path)).name == "python_function"
    assert "antigravity" not in sys.modules


def test_a_name_is_given_to_one_flavor_only() -> None:
    from dataclasses import replace

    for name in ("tiny", "sklearn"):
        with pytest.raises(ValueError, match=f"a flavor '{name}' already"):
            register_flavor(replace(tiny_flavor.FLAVOR, name=name))


def test_an_unknown_flavor_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ModelLoadError) as caught:
        flavor_named("catboost")
    assert "'catboost' is not installed" in str(caught.value)
    assert "lightgbm, onnx, python_function, sklearn, tiny, xgboost" in str(caught.value)
