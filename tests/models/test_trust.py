"""Crafted models: whatever they try, nothing of them runs, and the error says what it would have been."""

import io
import itertools
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nightscore.errors import ModelRefusedError
from nightscore.models.mlmodel import read_mlmodel
from nightscore.models.structure.pickle_imports import pickled_names
from nightscore.models.trust import check_trust, loading_steps
from tests.cli.test_commands import answer
from tests.support.boosters import KnownBooster
from tests.support.lake import Lake
from tests.support.models import NUMBERS, KnownModel, copy_registry, make_frame, register

DAY = "2024-02-29"
IDS = itertools.count(1)


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = yaml.safe_load((folder / "MLmodel").read_text())
    change(document["flavors"])
    (folder / "MLmodel").write_text(yaml.safe_dump(document))


def pickled(folder: Path, marker: Path) -> None:
    (folder / "model.pkl").write_bytes(pickle.dumps(Touch(marker)))


def cloudpickled(folder: Path, marker: Path) -> None:
    import cloudpickle

    def run(path: str = str(marker)) -> None:
        Path(path).touch()

    class Lambda:
        def __reduce__(self) -> Any:
            return run, ()

    (folder / "model.pkl").write_bytes(cloudpickle.dumps(Lambda()))


def only_pyfunc(folder: Path, marker: Path) -> None:
    pickled(folder, marker)
    edit(folder, lambda flavors: flavors.pop("sklearn") and None)


def python_model(folder: Path, marker: Path) -> None:
    only_pyfunc(folder, marker)
    (folder / "python_model.pkl").write_bytes(pickle.dumps(Touch(marker)))
    new = {"loader_module": "mlflow.pyfunc.model", "python_model": "python_model.pkl"}
    edit(folder, lambda flavors: flavors["python_function"].update(new))


def own_loader(folder: Path, marker: Path) -> None:
    only_pyfunc(folder, marker)
    (folder / "code").mkdir()
    (folder / "code" / "my_loader.py").write_text(
        f"import pathlib; pathlib.Path({str(marker)!r}).touch()"
    )
    new = {"loader_module": "my_loader", "code": "code"}
    edit(folder, lambda flavors: flavors["python_function"].update(new))


def shadowing_code(folder: Path, marker: Path) -> None:
    """A module of the model's own that takes the place of a library that loading imports."""
    (folder / "code").mkdir()
    for name in ("skops", "sklearn", "pickle"):
        (folder / "code" / f"{name}.py").write_text(
            f"import pathlib; pathlib.Path({str(marker)!r}).touch()"
        )
    skops_archive(folder, [])
    edit(folder, lambda flavors: flavors["sklearn"].update({"code": "code"}))


def model_from_code(folder: Path, marker: Path) -> None:
    only_pyfunc(folder, marker)
    (folder / "chain.py").write_text(f"import pathlib; pathlib.Path({str(marker)!r}).touch()")
    new = {"loader_module": "mlflow.pyfunc.model", "model_code_path": "chain.py"}
    edit(folder, lambda flavors: flavors["python_function"].update(new))


def class_by_name(folder: Path, marker: Path) -> None:
    """MLflow's loader of XGBoost imports the class that the model names, and calls it."""
    only_pyfunc(folder, marker)
    new = {"loader_module": "mlflow.xgboost", "data": "model.pkl"}
    edit(folder, lambda flavors: flavors["python_function"].update(new))
    edit(
        folder,
        lambda flavors: flavors.update({"xgboost": {"model_class": "code.InteractiveConsole"}}),
    )


def class_below_a_known_module(folder: Path, marker: Path) -> None:
    class_by_name(folder, marker)
    edit(
        folder,
        lambda flavors: flavors.update({"xgboost": {"model_class": "xgboost.sklearn.os.system"}}),
    )


def lightgbm_pickle(folder: Path, marker: Path) -> None:
    only_pyfunc(folder, marker)
    new = {"loader_module": "mlflow.lightgbm", "data": "model.pkl"}
    edit(folder, lambda flavors: flavors["python_function"].update(new))
    wrapper = {"model_class": "lightgbm.sklearn.LGBMClassifier", "data": "model.pkl"}
    edit(folder, lambda flavors: flavors.update({"lightgbm": wrapper}))


def almost_a_booster(folder: Path, marker: Path) -> None:
    """MLflow unpickles all but the one class whose files are text."""
    lightgbm_pickle(folder, marker)
    edit(
        folder,
        lambda flavors: flavors["lightgbm"].update({"model_class": "lightgbm.basic.Booster2"}),
    )


def two_flavors(folder: Path, marker: Path) -> None:
    """One flavor vouches for data, the other names a pickle: what is loaded is what was looked at."""
    lightgbm_pickle(folder, marker)
    (folder / "graph.onnx").write_bytes(b"")
    edit(folder, lambda flavors: flavors.update({"onnx": {"data": "graph.onnx"}}))


def wrapper_of_another_loader(folder: Path, marker: Path) -> None:
    """The flavor names a pickle of a wrapper's, the loader reads data."""
    lightgbm_pickle(folder, marker)
    new = {"loader_module": "mlflow.onnx", "data": "model.pkl"}
    edit(folder, lambda flavors: flavors["python_function"].update(new))
    edit(folder, lambda flavors: flavors.update({"onnx": {"data": "model.pkl"}}))


def lightgbm_text_is_a_pickle(folder: Path, marker: Path) -> None:
    """The class says text, the file is a pickle: it is read as text."""
    lightgbm_pickle(folder, marker)
    edit(
        folder,
        lambda flavors: flavors["lightgbm"].update({"model_class": "lightgbm.basic.Booster"}),
    )


def lightgbm_skops(folder: Path, marker: Path) -> None:
    skops_function(folder, marker)
    only_lightgbm = {"model_class": "lightgbm.sklearn.LGBMRegressor", "data": "model.skops"}
    lightgbm_flavor = only_lightgbm | {"serialization_format": "skops"}
    edit(folder, lambda flavors: flavors.pop("sklearn") and None)
    new = {"loader_module": "mlflow.lightgbm", "data": "model.skops"}
    edit(folder, lambda flavors: flavors["python_function"].update(new))
    edit(folder, lambda flavors: flavors.update({"lightgbm": lightgbm_flavor}))


def xgboost_file_is_a_pickle(folder: Path, marker: Path) -> None:
    class_by_name(folder, marker)
    known = {"model_class": "xgboost.sklearn.XGBClassifier", "data": "model.pkl"}
    edit(folder, lambda flavors: flavors.update({"xgboost": known}))


def skops_booster(folder: Path, marker: Path) -> None:
    """A handle in place of a model's text: the library would free that address."""
    state = node(
        "DictNode",
        "builtins.dict",
        {"_handle": node("JsonNode", "builtins.int", "4711") | {"is_json": True}},
    )
    state["key_types"] = node("ListNode", "builtins.list", [node("TypeNode", "builtins.str", None)])
    skops_archive(folder, [node("ObjectNode", "lightgbm.basic.Booster", state)])


def odd_flavors(folder: Path, marker: Path) -> None:
    pickled(folder, marker)
    edit(folder, lambda flavors: flavors.update({"sklearn": ["pickled_model", "model.pkl"]}))


def a_list(folder: Path, marker: Path) -> None:
    pickled(folder, marker)
    (folder / "MLmodel").write_text("- flavors\n")


def second_mlmodel(folder: Path, marker: Path) -> None:
    """MLflow's loaders look for an MLmodel file beside the data."""
    lightgbm_pickle(folder, marker)
    (folder / "inner").mkdir()
    shutil.copy(folder / "MLmodel", folder / "inner" / "MLmodel")
    shutil.copy(folder / "model.pkl", folder / "inner" / "model.pkl")
    edit(folder, lambda flavors: flavors["python_function"].update({"data": "inner/model.pkl"}))
    edit(
        folder,
        lambda flavors: flavors.update({"lightgbm": {"model_class": "lightgbm.basic.Booster"}}),
    )


def traversal(folder: Path, marker: Path) -> None:
    (folder.parent / "outside.pkl").write_bytes(pickle.dumps(Touch(marker)))
    edit(folder, lambda flavors: flavors["sklearn"].update({"pickled_model": "../outside.pkl"}))


def absolute_path(folder: Path, marker: Path) -> None:
    outside = folder.parent / "outside.pkl"
    outside.write_bytes(pickle.dumps(Touch(marker)))
    edit(folder, lambda flavors: flavors["sklearn"].update({"pickled_model": str(outside)}))


def link(folder: Path, marker: Path) -> None:
    (folder.parent / "outside.pkl").write_bytes(pickle.dumps(Touch(marker)))
    (folder / "model.pkl").unlink()
    (folder / "model.pkl").symlink_to(folder.parent / "outside.pkl")


def linked_folder(folder: Path, marker: Path) -> None:
    (folder.parent / "outside").mkdir(exist_ok=True)
    (folder.parent / "outside" / "model.pkl").write_bytes(pickle.dumps(Touch(marker)))
    (folder / "data").symlink_to(folder.parent / "outside")
    edit(folder, lambda flavors: flavors["sklearn"].update({"pickled_model": "data/model.pkl"}))


def skops_archive(folder: Path, nodes: list[dict[str, Any]]) -> None:
    """A skops file whose root is a list of hand-made nodes, and an MLmodel file that vouches for them."""
    root = {
        "__class__": "list",
        "__module__": "builtins",
        "__loader__": "ListNode",
        "content": nodes,
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(
            "schema.json", json.dumps({**root, "protocol": 2, "_skops_version": "0.16.0"})
        )
    (folder / "model.skops").write_bytes(content.getvalue())
    trusted = [f"{node['__module__']}.{node['__class__']}" for node in nodes]
    new = {
        "pickled_model": "model.skops",
        "serialization_format": "skops",
        "skops_trusted_types": trusted,
    }
    edit(folder, lambda flavors: flavors["sklearn"].update(new))


def node(kind: str, name: str, content: Any) -> dict[str, Any]:
    module, _, attribute = name.rpartition(".")
    return {
        "__class__": attribute,
        "__module__": module,
        "__loader__": kind,
        "content": content,
        "__id__": next(IDS),
    }


def text(value: str) -> dict[str, Any]:
    return node("JsonNode", "builtins.str", json.dumps(value)) | {"is_json": True}


def arguments(*values: str) -> dict[str, Any]:
    return node("TupleNode", "builtins.tuple", [text(value) for value in values])


def skops_function(folder: Path, marker: Path) -> None:
    """A default factory is called for a key that is missing."""
    main = node("DictNode", "builtins.dict", {}) | {
        "key_types": node("ListNode", "builtins.list", [])
    }
    content = {"main": main, "default_factory": node("FunctionNode", "os.mkdir", None)}
    skops_archive(folder, [node("DefaultDictNode", "collections.defaultdict", content)])


def skops_constructor(folder: Path, marker: Path) -> None:
    """A class of numpy whose constructor opens files."""
    (folder / "data").write_bytes(b"x" * 100)
    skops_archive(
        folder, [node("ConstructorFromReduceNode", "numpy.memmap", arguments(str(folder / "data")))]
    )


def skops_exec(folder: Path, marker: Path) -> None:
    """A distribution of SciPy runs a text of its state when that is set."""
    template = f"import pathlib; pathlib.Path({str(marker)!r}).touch()"
    state = node("DictNode", "builtins.dict", {"_parse_arg_template": text(template)})
    state["key_types"] = node("ListNode", "builtins.list", [node("TypeNode", "builtins.str", None)])
    skops_archive(folder, [node("ObjectNode", "scipy.stats._continuous_distns.norm_gen", state)])


def skops_module(folder: Path, marker: Path) -> None:
    """A module of a trusted library that runs something when it is imported."""
    skops_archive(folder, [node("ObjectNode", "numpy.f2py.__main__.Main", None)])


CRAFTED = {
    pickled: "unpickles model.pkl",
    cloudpickled: "unpickles model.pkl",
    only_pyfunc: "unpickles model.pkl",
    python_model: "unpickles python_model.pkl",
    own_loader: "my_loader",
    shadowing_code: "before all other modules: pickle, sklearn, skops",
    model_from_code: "runs chain.py",
    class_by_name: "runs the loader mlflow.xgboost",
    class_below_a_known_module: "runs the loader mlflow.xgboost",
    lightgbm_pickle: "unpickles model.pkl",
    almost_a_booster: "unpickles model.pkl",
    two_flavors: "unpickles model.pkl",
    wrapper_of_another_loader: "cannot be loaded",
    lightgbm_text_is_a_pickle: "expected: a model file of LightGBM",
    lightgbm_skops: "os.mkdir",
    xgboost_file_is_a_pickle: "the file cannot be read: ValueError: broken UBJSON near byte 1",
    skops_booster: "the state of a Booster",
    odd_flavors: "no readable MLmodel file",
    a_list: "expected a mapping with the key flavors",
    second_mlmodel: "inner/MLmodel: a second MLmodel file",
    traversal: "../outside.pkl",
    absolute_path: "outside.pkl",
    link: "model.pkl",
    linked_folder: "data",
    skops_function: "os.mkdir",
    skops_constructor: "numpy.memmap",
    skops_exec: "scipy.stats._continuous_distns.norm_gen",
    skops_module: "numpy.f2py.__main__.Main",
}


@pytest.fixture
def model(tmp_path: Path, registry_root: Path, models: dict[str, KnownModel]) -> tuple[str, Path]:
    """A registry of one's own, and the folder of a good model to be spoilt."""
    folder = tmp_path / "artifacts" / "model"
    shutil.copytree(registry_root / "models" / "logistic", folder)
    return copy_registry(registry_root, tmp_path / "registry"), folder


def add_crafted(
    craft: Callable[[Path, Path], None], model: tuple[str, Path], tmp_path: Path
) -> tuple[str, Path]:
    """Register a spoilt model as `crafted`; its registry, and the file that is there once it ran."""
    import mlflow

    uri, folder = model
    marker = tmp_path / "it-ran"
    craft(folder, marker)
    register(
        mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri), "crafted", folder, is_pinned=False
    )
    return uri, marker


@pytest.mark.parametrize("craft", CRAFTED, ids=lambda craft: craft.__name__)
def test_nothing_of_a_crafted_model_runs(
    craft: Callable[[Path, Path], None], model: tuple[str, Path], lake: Lake, tmp_path: Path
) -> None:
    uri, marker = add_crafted(craft, model, tmp_path)
    lake.write(DAY, make_frame(5))

    manifest = lake.run(lake.job("crafted", registry=uri))

    assert not marker.exists()
    assert manifest.error
    assert manifest.error.type in ("ModelRefusedError", "ModelLoadError", "ModelStructureError")
    assert CRAFTED[craft] in manifest.error.message
    assert not marker.exists()


@pytest.mark.parametrize(
    "craft", [pickled, own_loader, skops_exec], ids=lambda craft: craft.__name__
)
def test_inspecting_runs_nothing_and_says_what_would(
    craft: Callable[[Path, Path], None], model: tuple[str, Path], lake: Lake, tmp_path: Path
) -> None:
    uri, marker = add_crafted(craft, model, tmp_path)

    inspection = answer(lake, "model", "inspect", "models:/crafted/1", "--registry", uri)

    assert not marker.exists()
    assert (inspection["would_load"], inspection["is_pinned"]) == (False, False)
    assert CRAFTED[craft] in json.dumps(inspection)
    if craft is pickled:
        assert "pathlib.Path.touch" in inspection["steps"][-1]["names"]


def test_a_pin_or_the_job_allows_a_pickle_and_a_changed_one_is_still_refused(
    model: tuple[str, Path], lake: Lake
) -> None:
    import mlflow

    uri, folder = model
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    register(client, "loose", folder, is_pinned=False)
    register(client, "pinned", folder)
    lake.write(DAY, make_frame(50))

    refused = lake.run(lake.job("loose", registry=uri))
    assert refused.error
    assert "allow_pickle: true" in refused.error.message
    assert f"`nightscore pin models:/loose/1 --registry {uri}`" in refused.error.message
    assert lake.run(lake.job("loose", registry=uri, allow_pickle=True)).status == "published"
    assert lake.run(lake.job("pinned", registry=uri)).status == "published"
    (folder / "requirements.txt").write_text("changed")
    changed = lake.run(lake.job("pinned", registry=uri, allow_pickle=True), force=True)
    assert changed.error
    assert changed.error.type == "ModelDigestError"


def test_code_of_the_model_runs_once_it_is_named(
    model: tuple[str, Path], lake: Lake, tmp_path: Path
) -> None:
    import mlflow

    uri, folder = model
    edit(folder, lambda flavors: flavors.pop("sklearn") and None)
    (folder / "code").mkdir()
    (folder / "code" / "my_loader.py").write_text(
        "import pickle\n\ndef _load_pyfunc(path):\n    return pickle.load(open(path, 'rb'))\n"
    )
    new = {"loader_module": "my_loader", "code": "code", "data": "model.pkl"}
    edit(folder, lambda flavors: flavors["python_function"].update(new))
    register(mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri), "own", folder)
    frame = make_frame(50)
    lake.write(DAY, frame[["id", *NUMBERS]])

    refused = lake.run(lake.job("own", registry=uri))
    assert refused.error
    assert "not named in allow_code: my_loader" in refused.error.message
    job = lake.job("own", registry=uri, allow_code=["my_loader"])
    assert lake.run(job).status == "published"


def test_the_demo_s_kind_of_model_needs_no_word(
    registry_root: Path, models: dict[str, KnownModel]
) -> None:
    (step,) = loading_steps(read_mlmodel(registry_root / "models" / "hgb_binary"))
    assert step.kind == "pickle"
    assert step.pickle
    assert any("HistGradientBoostingClassifier" in name for name in pickled_names(step.pickle))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("lgb_binary", "data"), ("lgb_classifier", "types"), ("lgb_regressor", "pickle"), ("xgb_binary", "data"),
     ("xgb_classifier", "data"), ("onnx_forest", "data")],
)  # fmt: skip
def test_what_loading_a_booster_would_do(
    registry_root: Path, boosters: dict[str, KnownBooster], name: str, kind: str
) -> None:
    (step,) = loading_steps(read_mlmodel(registry_root / "models" / name))
    assert step.kind == kind


def test_data_that_its_library_follows_unseen_needs_a_pin(tmp_path: Path) -> None:
    flavors = {
        "catboost": {"data": "model.cb", "model_type": "CatBoostClassifier"},
        "python_function": {"loader_module": "mlflow.catboost", "data": "model.cb"},
    }
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors}))
    (tmp_path / "model.cb").write_bytes(b"CBM1")
    mlmodel = read_mlmodel(tmp_path)

    with pytest.raises(
        ModelRefusedError, match=r"reads model\.cb with catboost, which follows it without looking"
    ):
        check_trust(mlmodel, "m", is_pinned=False, allow_pickle=False, allow_code=[])
    check_trust(mlmodel, "m", is_pinned=True, allow_pickle=False, allow_code=[])


@pytest.mark.parametrize(
    "name", ["lgb_multi", "lgb_classifier", "xgb_classifier_multi", "onnx_forest"]
)
def test_files_of_data_need_no_pin(
    lake: Lake, registry_root: Path, boosters: dict[str, KnownBooster], name: str
) -> None:
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=lake.registry, registry_uri=lake.registry)
    register(client, f"loose_{name}", registry_root / "models" / name, is_pinned=False)
    frame = make_frame(50)
    kinds = boosters[name].sample.dtypes
    lake.write(DAY, frame.astype({column: kinds[column] for column in NUMBERS if column in kinds}))
    manifest = lake.run(lake.job(f"loose_{name}"))
    assert manifest.error is None
    assert not manifest.model.is_pinned
