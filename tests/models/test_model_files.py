"""Model files of LightGBM and XGBoost are read without these libraries, and broken ones are no worse than refused."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightscore.models.structure.lightgbm_file import read_lightgbm
from nightscore.models.structure.xgboost_file import read_xgboost
from tests.support.boosters import KnownBooster

READ = """
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from nightscore.schemas.model import ModelFacts
from nightscore.models.compiled.flat import read_form
from nightscore.models.compiled.predictor import open_form

form, cache, facts = (Path(argument) for argument in sys.argv[1:])
compiled = open_form(read_form(form), ModelFacts.model_validate_json(facts.read_text()), None, cache)
columns = {name: pa.array(np.linspace(-2, 2, 7).tolist()) for name in "abcde"}
print(compiled.predict(pa.table(columns), ["raw"])["raw"].astype(np.float64).tobytes().hex())
print(sorted({"lightgbm", "xgboost", "sklearn", "mlflow"} & {*sys.modules}))
"""


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | np.ndarray) and len(one) and isinstance(one[0], dict | str):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, list | np.ndarray):
        return np.array_equal(np.asarray(one, np.float32), np.asarray(other, np.float32))
    return bool(one == other)


@pytest.mark.parametrize("name", ["xgb_binary", "xgb_multi", "xgb_dart"])
def test_ubjson_says_what_json_says(boosters: dict[str, KnownBooster], name: str) -> None:
    model = boosters[name].model
    assert same(*(read_xgboost(bytes(model.save_raw(kind))).learner for kind in ("ubj", "json")))


@pytest.mark.parametrize("kind", ["ubj", "json"])
def test_a_cut_off_file_of_xgboost_is_an_error(
    boosters: dict[str, KnownBooster], kind: str
) -> None:
    content = bytes(boosters["xgb_multi"].model.save_raw(kind))
    for length in (0, 1, 2, *range(3, len(content), 97), len(content) - 1):
        with pytest.raises(
            ValueError, match=r"UBJSON|not a model file|Expecting|delimiter|Unterminated|char"
        ):
            read_xgboost(content[:length])


def test_flipped_bits_of_a_file_of_xgboost_are_an_error_or_another_value(
    boosters: dict[str, KnownBooster],
) -> None:
    content = bytes(boosters["xgb_multi"].model.save_raw("ubj"))
    whole = read_xgboost(content).learner
    rng = np.random.default_rng(0)
    ends = Counter[str]()
    for place in rng.integers(0, len(content), 300):
        broken = bytearray(content)
        broken[place] ^= 1 << int(rng.integers(8))
        try:
            learner = read_xgboost(bytes(broken)).learner
        except ValueError:
            ends["error"] += 1
        else:
            with np.errstate(invalid="ignore"):
                ends["as it was" if same(learner, whole) else "another value"] += 1
    assert ends.total() == 300
    assert min(ends["error"], ends["another value"]) > 50, ends
    # A type of numbers as wide as the true one, or the last bit of a double that `same` compares as
    # a float.
    assert ends["as it was"] <= 5, ends


def test_other_files_are_not_lightgbms(boosters: dict[str, KnownBooster]) -> None:
    text = boosters["lgb_multi"].model.model_to_string()
    with pytest.raises(ValueError, match="not a model file of LightGBM"):
        read_lightgbm("{}")
    with pytest.raises(ValueError, match="found v9"):
        read_lightgbm(text.replace("version=v4", "version=v9"))


@pytest.mark.parametrize("name", ["lgb_multi", "xgb_multi"])
def test_a_worker_with_the_compiled_form_needs_no_library(
    boosters: dict[str, KnownBooster], registry_root: Path, tmp_path: Path, name: str
) -> None:
    import pandas as pd

    from nightscore.models.compiled.flat import write_form
    from nightscore.models.loading import compile_model, inspect_model

    known = boosters[name]
    facts = inspect_model(registry_root / "models" / name)
    write_form(compile_model(known.model, facts), tmp_path / "form")
    (tmp_path / "facts.json").write_text(facts.model_dump_json())
    arguments = [str(tmp_path / "form"), str(tmp_path / "cache"), str(tmp_path / "facts.json")]
    printed = subprocess.run(
        [sys.executable, "-c", READ, *arguments], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    frame = pd.DataFrame({column: np.linspace(-2, 2, 7) for column in known.columns})
    own = known.own_answers(frame, ["raw"])["raw"]
    assert printed == [own.astype(np.float64).tobytes().hex(), "[]"]
