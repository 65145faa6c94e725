"""Registered LightGBM, XGBoost and ONNX models, scored through a job."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nightscore.errors import ModelLoadError
from nightscore.models.installed_libraries import import_library
from nightscore.models.loading import LoadedModel, inspect_model
from nightscore.operations.verify import verify
from nightscore.schemas.model import ModelFacts
from tests.support.boosters import KnownBooster
from tests.support.lake import Lake
from tests.support.models import NUMBERS, make_frame, register, with_nulls

DAY, NEXT = "2024-02-29", "2024-03-01"
N = 2_001


def rows_for(known: KnownBooster, seed: int) -> pd.DataFrame:
    frame = make_frame(N, seed=seed)
    if known.flavor != "onnx":
        return with_nulls(frame)
    return frame.astype(dict.fromkeys(NUMBERS, known.sample["a"].dtype))


@pytest.mark.parametrize("engine", ["library", "auto"])
@pytest.mark.parametrize(
    "name",
    [
        "lgb_binary",
        "lgb_classifier",
        "xgb_binary",
        "xgb_classifier_multi",
        "onnx_forest",
        "onnx_mixed",
    ],
)
def test_predictions_are_the_librarys_own(
    lake: Lake, boosters: dict[str, KnownBooster], name: str, engine: str
) -> None:
    known = boosters[name]
    frames = [rows_for(known, seed) for seed in (3, 4)]
    for day, frame in zip((DAY, NEXT), frames, strict=True):
        lake.write(day, frame.iloc[:1_200], "a", row_group_size=400)
        lake.write(day, frame.iloc[1_200:], "b", use_dictionary=False)
    job = lake.job(name, engine=engine)

    manifests = [lake.run(job, day) for day in (DAY, NEXT)]

    is_classifier = name in ("lgb_classifier", "xgb_classifier_multi", "onnx_forest", "onnx_mixed")
    published = lake.read(job)
    for manifest, day, frame in zip(manifests, (DAY, NEXT), frames, strict=True):
        assert manifest.error is None
        assert manifest.model.flavor == known.flavor
        assert manifest.model.is_pinned
        assert manifest.predictor is not None
        has_compiled = engine == "auto" and known.flavor != "onnx"
        assert manifest.predictor.engine == ("compiled" if has_compiled else "library"), (
            manifest.predictor.why
        )
        assert (manifest.predictor.difference, manifest.predictor.rows_by_library) == (0.0, 0)
        assert manifest.drift
        library = {"onnx": "onnxruntime"}.get(known.flavor, known.flavor)
        assert manifest.libraries[library]
        own = known.own_answers(frame, ["probability"] if is_classifier else [])
        here = published[published["ds"] == day].set_index("id").loc[frame["id"]]
        assert np.array_equal(here["prediction"], own["prediction"].ravel())
        if is_classifier and own["probability"].shape[1] == 2:
            assert np.array_equal(here["probability"], own["probability"][:, 1])
        elif is_classifier:
            columns = [column for column in here if column.startswith("probability_")]
            assert np.array_equal(here[columns], own["probability"])
        assert verify(job, day, lake.pool, lake.cache, 500, 0).findings == ()


def test_raw_scores_of_several_classes_have_a_column_each(
    lake: Lake, boosters: dict[str, KnownBooster]
) -> None:
    frame = rows_for(boosters["xgb_multi"], 3)
    lake.write(DAY, frame)
    job = lake.job("xgb_multi", predict="raw")
    manifest = lake.run(job)
    assert manifest.error is None
    published, own = lake.read(job), boosters["xgb_multi"].own_answers(frame, ["raw"])
    for i in range(3):
        assert np.array_equal(published[f"prediction_{i}"], own["prediction"][:, i])
        assert np.array_equal(published[f"raw_{i}"], own["raw"][:, i])


def test_what_xgboost_refuses_is_quarantined(lake: Lake, boosters: dict[str, KnownBooster]) -> None:
    frame = rows_for(boosters["xgb_binary"], 3)
    frame.loc[7, "color"] = "mauve"
    frame.loc[9, "b"] = np.inf
    lake.write(DAY, frame)
    causes = {}
    for engine in ("auto", "library"):
        job = lake.job("xgb_binary", engine=engine, limits={"max_quarantined_rows": 5})
        manifest = lake.run(job, force=True)
        assert manifest.error is None
        causes[engine] = [(e.source_row, e.column, e.message) for e in manifest.quarantine.examples]
        assert manifest.counts.rows_quarantined == 2
    assert causes["auto"] == causes["library"]
    assert [row for row, _, _ in causes["library"]] == [7, 9]


def test_an_unknown_category_can_be_quarantined_before_lightgbm_takes_it_as_missing(
    lake: Lake, boosters: dict[str, KnownBooster]
) -> None:
    frame = rows_for(boosters["lgb_binary"], 3)
    frame.loc[7, "color"] = "mauve"
    lake.write(DAY, frame)
    policy = {"unseen_category": "quarantine"}
    job = lake.job("lgb_binary", policy=policy, limits={"max_quarantined_rows": 5})
    manifest = lake.run(job)
    assert manifest.error is None
    assert manifest.quarantine.by_column == {"color: unseen_category": 1}


def save(flavor: str, model: Any, folder: Path, **options: Any) -> Path:
    import mlflow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(mlflow, flavor).save_model(model, folder, pip_requirements=[flavor], **options)
    return folder


def test_double_columns_fit_a_graph_of_single_floats_only_if_the_signature_says_so(
    lake: Lake, boosters: dict[str, KnownBooster], tmp_path: Path
) -> None:
    """As MLflow does it: the signature's doubles become what the graph wants."""
    import mlflow
    from mlflow.models import infer_signature

    frame = make_frame(200)
    lake.write(DAY, frame)
    manifest = lake.run(lake.job("onnx_forest"))
    assert manifest.error
    assert "a: has the type double, the model was trained on float" in manifest.error.message
    graph = boosters["onnx_forest"].model
    folder = save("onnx", graph, tmp_path / "doubles", signature=infer_signature(frame[NUMBERS]))
    client = mlflow.MlflowClient(tracking_uri=lake.registry, registry_uri=lake.registry)
    register(client, "onnx_doubles", folder)
    job = lake.job("onnx_doubles")
    assert lake.run(job).error is None
    own = boosters["onnx_forest"].own_answers(frame.astype(dict.fromkeys(NUMBERS, "float32")), [])
    assert np.array_equal(lake.read(job)["prediction"], own["prediction"].ravel())


def test_models_without_a_signature_say_what_they_need_themselves(
    boosters: dict[str, KnownBooster], tmp_path: Path
) -> None:
    facts: dict[str, ModelFacts] = {}
    for name in ("lgb_binary", "xgb_binary", "onnx_mixed", "onnx_linear"):
        facts[name] = inspect_model(
            save(boosters[name].flavor, boosters[name].model, tmp_path / name)
        )
    assert [(f.name, f.type) for f in facts["onnx_mixed"].features] == [
        ("color", "string"), ("size", "string"), ("a", "double"), ("b", "double"),
    ]  # fmt: skip
    for name in ("lgb_binary", "xgb_binary"):
        types = {feature.name: feature.type for feature in facts[name].features}
        assert types == {
            "color": "string",
            "size": "string",
            "count": "long",
            **dict.fromkeys(NUMBERS, "double"),
        }
        assert facts[name].categories["color"] == ("blue", "green", "red")
    assert (facts["onnx_linear"].features, facts["onnx_linear"].n_features) == ((), 5)


def test_a_signature_in_another_order_than_the_model_is_refused(
    boosters: dict[str, KnownBooster], tmp_path: Path
) -> None:
    from mlflow.models import infer_signature

    for name in ("lgb_multi", "xgb_multi"):
        known = boosters[name]
        signature = infer_signature(known.sample[NUMBERS[::-1]])
        folder = save(known.flavor, known.model, tmp_path / name, signature=signature)
        with pytest.raises(ModelLoadError, match="another order than those of the model"):
            inspect_model(folder)


def test_categories_that_xgboost_stores_cut_off_are_refused(tmp_path: Path) -> None:
    """It counts characters of UTF-8 and keeps as many bytes."""
    import xgboost

    color = pd.DataFrame({"color": pd.Categorical(["blå", "grön", "röd"] * 50)})
    matrix = xgboost.DMatrix(color, np.arange(150) % 3, enable_categorical=True, nthread=1)
    folder = save("xgboost", xgboost.train({"nthread": 1}, matrix, 2), tmp_path / "cut")
    with pytest.raises(ModelLoadError, match="categories beyond ASCII"):
        inspect_model(folder)


def test_strings_without_stored_categories_are_refused(tmp_path: Path) -> None:
    import xgboost
    from mlflow.models import infer_signature

    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, (150, 1)).astype(float)
    matrix = xgboost.DMatrix(
        codes,
        codes[:, 0],
        feature_names=["color"],
        feature_types=["c"],
        enable_categorical=True,
        nthread=1,
    )
    signature = infer_signature(pd.DataFrame({"color": ["red", "green"]}))
    model = xgboost.train({"nthread": 1}, matrix, 2)
    folder = save("xgboost", model, tmp_path / "codes", signature=signature)
    with pytest.raises(ModelLoadError, match="does not say which categories it was trained with"):
        inspect_model(folder)


def test_weights_of_a_graph_outside_the_model_are_refused(
    boosters: dict[str, KnownBooster], tmp_path: Path
) -> None:
    import onnx

    graph = onnx.ModelProto()
    graph.CopyFrom(boosters["onnx_linear"].model)
    folder = save("onnx", graph, tmp_path / "model")
    weights = graph.graph.initializer.add(name="w", data_type=onnx.TensorProto.FLOAT, dims=[1])
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../secret")
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(
        ModelLoadError, match=r"weights in '\.\./secret', which is no file below the model's folder"
    ):
        inspect_model(folder)


@pytest.mark.slow
def test_a_classifier_with_an_objective_of_its_own_predicts_raw_scores(tmp_path: Path) -> None:
    import lightgbm
    import pyarrow as pa

    from nightscore.models.loading import LoadedModel

    frame = make_frame(200)[NUMBERS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = lightgbm.LGBMClassifier(
            n_estimators=3, objective=_own_objective, verbose=-1, n_jobs=1
        )
        model.fit(frame, frame["a"] > 0)
        folder = save("lightgbm", model, tmp_path / "model", serialization_format="cloudpickle")
        own = model.predict(frame)
    facts = inspect_model(folder)
    assert (facts.classes, facts.methods) == (None, ("predict", "raw"))
    loaded = LoadedModel(folder, facts)
    for predictor in (
        loaded.library_predictor(),
        loaded.compiled_predictor(loaded.library_predictor()),
    ):
        answer = predictor.predict(pa.Table.from_pandas(frame, preserve_index=False), [])
        assert np.array_equal(answer["prediction"].ravel(), own)


def _own_objective(truth: Any, scores: Any) -> Any:
    return scores - truth, np.ones_like(scores)


def test_a_missing_library_names_its_extra() -> None:
    with pytest.raises(ModelLoadError, match="needs LightGBM, which is not installed") as raised:
        import_library("lightgbm.not_there", "LightGBM", "lightgbm", Path("model"))
    assert "pip install 'nightscore[lightgbm]'" in str(raised.value)


@pytest.mark.parametrize("serialization", ["skops", "cloudpickle"])
@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_a_wrapper_at_the_end_of_a_pipeline(
    lake: Lake, tmp_path: Path, library: str, serialization: str
) -> None:
    """Logged as a model of scikit-learn's."""
    import lightgbm
    import mlflow
    import xgboost
    from mlflow.models import infer_signature
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    frame = make_frame(400)
    final = (
        lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1)
        if library == "lightgbm"
        else xgboost.XGBClassifier(n_estimators=5, n_jobs=1)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make_pipeline(StandardScaler().set_output(transform="pandas"), final)
        model.fit(frame[NUMBERS], (frame.a > 0).astype("int64"))
        own = model.predict_proba(frame[NUMBERS])[:, 1]
        from tests.support.boosters import TRUSTED

        more = {"skops_trusted_types": TRUSTED} if serialization == "skops" else {}
        mlflow.sklearn.save_model(
            model,
            tmp_path / "model",
            signature=infer_signature(frame[NUMBERS]),
            serialization_format=serialization,
            pip_requirements=["scikit-learn"],
            **more,
        )
    name = f"pipeline_{library}_{serialization}"
    client = mlflow.MlflowClient(tracking_uri=lake.registry, registry_uri=lake.registry)
    register(client, name, tmp_path / "model", is_pinned=serialization != "skops")
    lake.write(DAY, frame)
    job = lake.job(name)
    manifest = lake.run(job)
    assert manifest.error is None
    assert manifest.predictor
    assert manifest.predictor.engine == "library"
    assert np.array_equal(lake.read(job)["probability"], own)


@pytest.mark.parametrize("kind", ["search", "vote", "stack"])
@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_a_booster_that_others_have_copied_is_not_fitted_itself(
    library: str, kind: str, tmp_path: Path
) -> None:
    import lightgbm
    import mlflow
    import xgboost
    from mlflow.models import infer_signature
    from sklearn.ensemble import StackingClassifier, VotingClassifier
    from sklearn.model_selection import GridSearchCV

    booster = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1)
    if library == "xgboost":
        booster = xgboost.XGBClassifier(n_estimators=3, n_jobs=1)
    model = {
        "search": lambda: GridSearchCV(booster, {"max_depth": [2]}, cv=2),
        "vote": lambda: VotingClassifier([("one", booster)], voting="soft"),
        "stack": lambda: StackingClassifier([("one", booster)], cv=2),
    }[kind]()
    x = make_frame(200)[NUMBERS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, x["a"] > 0)
        mlflow.sklearn.save_model(
            model,
            tmp_path / "m",
            signature=infer_signature(x, model.predict(x)),
            serialization_format="cloudpickle",
            pip_requirements=[],
        )

    loaded = LoadedModel(tmp_path / "m", inspect_model(tmp_path / "m", is_vouched=True))
    answer = loaded.library_predictor().predict(
        pa.Table.from_pandas(x, preserve_index=False), ["probability"]
    )
    assert np.array_equal(answer["probability"], model.predict_proba(x))
