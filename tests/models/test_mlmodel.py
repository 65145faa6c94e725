"""MLmodel files that are no plain data of a model: refused with the place, in no time, by whatever reads them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nightscore.errors import ModelError, ModelLoadError, ModelRefusedError
from nightscore.models.mlmodel import read_mlmodel
from nightscore.models.trust import check_trust

GOOD: dict[str, Any] = {
    "flavors": {
        "sklearn": {"pickled_model": "model.pkl", "sklearn_version": "1.6.0"},
        "python_function": {"loader_module": "mlflow.sklearn", "python_version": "3.11.7"},
    },
    "signature": {
        "inputs": json.dumps([{"name": "a", "type": "double", "required": True}]),
        "outputs": json.dumps(
            [{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]
        ),
    },
}


def tensor(shape: Any, dtype: Any = "float64") -> str:
    return json.dumps([{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}}])


def bomb(document: dict[str, Any]) -> str:
    below = "\n".join(f"    b{i}: &b{i} [{', '.join([f'*b{i - 1}'] * 9)}]" for i in range(1, 30))
    return f"flavors:\n  sklearn:\n    pickled_model: model.pkl\n    b0: &b0 [data]\n{below}\n"


def itself(document: dict[str, Any]) -> str:
    return "flavors:\n  sklearn: &s {pickled_model: model.pkl, more: [*s]}\n"


def stated(**changes: Any) -> Callable[[dict[str, Any]], str]:
    def change(document: dict[str, Any]) -> str:
        signature = document["signature"] | {
            key: value for key, value in changes.items() if key in ("inputs", "outputs")
        }
        others = {key: value for key, value in changes.items() if key not in ("inputs", "outputs")}
        return yaml.safe_dump(document | {"signature": signature} | others)

    return change


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {
    "a bomb below flavors": (bomb, "aliases written out"),
    "a flavor that holds itself": (
        itself,
        "line 2, column 49: the alias s stands for a value that holds it",
    ),
    "deep": (lambda _: "flavors: " + "{a: " * 5_000, "nested more than 64 times"),
    "a flavor twice": (
        lambda d: yaml.safe_dump(d) + "flavors: {}\n",
        "the key flavors is given twice",
    ),
    "nothing": (lambda _: "", "expected a mapping with the key flavors, found nothing"),
    "a list of flavors": (stated(flavors=["sklearn"]), "flavors: expected a mapping, found list"),
    "a flavor of text": (
        stated(flavors={"sklearn": "x"}),
        "flavors.sklearn: expected a mapping, found the str 'x'",
    ),
    "a number as a flavor": (stated(flavors={1: {}}), "flavors: expected texts as keys"),
    "a list as signature": (stated(signature=[1]), "signature: expected a mapping, found list"),
    "a mapping of inputs": (
        stated(inputs={"a": 1}),
        "signature.inputs: expected a text of JSON, found dict",
    ),
    "deep inputs": (stated(inputs="[" * 100_000), "signature.inputs: values are nested too deep"),
    "inputs cut off": (stated(inputs='[{"name"'), "signature.inputs: line 1, column 9"),
    "inputs of numbers": (
        stated(inputs="[1]"),
        r"signature.inputs[0]: expected a mapping, found the int '1'",
    ),
    "no tensor": (
        stated(outputs='[{"type": "tensor"}]'),
        "tensor-spec: expected a mapping, found nothing",
    ),
    "as wide as the memory": (
        stated(outputs=tensor([-1, 10**12])),
        "shape: expected at most 100,000 columns",
    ),
    "a broken width": (stated(inputs=tensor([-1, 2.5])), "shape: expected a list of whole numbers"),
    "a width of text": (stated(inputs=tensor("ab")), "shape: expected a list of whole numbers"),
    "no dtype": (stated(inputs=tensor([-1, 2], None)), "dtype: expected a text, found nothing"),
    "many tensors": (
        stated(outputs=json.dumps(json.loads(tensor([-1, 2])) * 101)),
        "signature.outputs: expected at most 100 tensors",
    ),
    "a version without end": (
        stated(mlflow_version="3" * 1_000),
        "mlflow_version: expected at most 100 characters",
    ),
    "no such day": (
        lambda d: yaml.safe_dump(d) + "utc_time_created: 2024-99-99\n",
        "the value is no timestamp",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_odd_mlmodel_file_is_refused_with_the_place(name: str, tmp_path: Path) -> None:
    change, expected = REFUSED[name]
    (tmp_path / "MLmodel").write_text(change(GOOD))
    with pytest.raises(ModelLoadError) as caught:
        read_mlmodel(tmp_path)
    assert expected in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    "name", ["a bomb below flavors", "a flavor that holds itself", "deep", "deep inputs"]
)
def test_what_stands_for_too_much_is_called_that(name: str, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(REFUSED[name][0](GOOD))
    with pytest.raises(ModelLoadError, match="expands to more, than any model needs") as caught:
        read_mlmodel(tmp_path)
    assert "YAML" not in str(caught.value)


def test_a_good_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(GOOD))
    (tmp_path / "requirements.txt").write_text(
        "scikit-learn==1.6.1 ; python_version >= '3.9'\nnumpy\n"
    )
    mlmodel = read_mlmodel(tmp_path)
    assert [feature.name for feature in mlmodel.inputs] == ["a"]
    assert mlmodel.output_types == ("long",)
    assert mlmodel.trained_with == {"python": "3.11.7", "scikit-learn": "1.6.0"}


def test_a_file_that_is_far_too_long_is_refused(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("#" * (17 << 20))
    with pytest.raises(ModelLoadError, match="expected at most 16,777,216 bytes"):
        read_mlmodel(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a" * (2 << 20)])
def test_odd_requirements_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(GOOD))
    (tmp_path / "requirements.txt").write_bytes(content)
    with pytest.raises(ModelLoadError, match=r"requirements\.txt: ") as caught:
        read_mlmodel(tmp_path)
    assert "no readable MLmodel" not in str(caught.value)


@pytest.mark.parametrize("path", ["a\0b", "a" * 5_000, "../outside"])
def test_a_path_that_is_none_is_refused(path: str, tmp_path: Path) -> None:
    document = {"flavors": {"sklearn": {"pickled_model": path}}}
    (tmp_path / "MLmodel").write_text(json.dumps(document))
    mlmodel = read_mlmodel(tmp_path)
    with pytest.raises(ModelRefusedError if path != "a" * 5_000 else ModelError):
        check_trust(mlmodel, "m", is_pinned=True, allow_pickle=True, allow_code=())
    with pytest.raises(ModelLoadError, match="names a file that the model does not have"):
        mlmodel.file(path)
