"""What differs between two versions of a model, by what they and the registry say.

Neither is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from nightscore.models.baseline import baseline_digest
from nightscore.models.cache import ModelCache, check_tree
from nightscore.models.mlmodel import MlModel, read_mlmodel
from nightscore.models.model_versions import fetch
from nightscore.models.registries.protocol import ModelVersion
from nightscore.models.registries.uris import registry_uri
from nightscore.models.registry_catalog import open_registry
from nightscore.schemas.release_entry import ChangeRecord, ModelDiffRecord

SHOWN_DIGITS = len("sha256:") + 12
Values = Mapping[str, str]
"""Names and what they mean, in words: columns and types, parameters, libraries."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a version says about itself, by aspect."""

    aspects: Mapping[str, Values]
    unknown: Mapping[str, str]
    """Aspects of which it says nothing, and why."""


def compare_versions(
    before: ModelVersion, after: ModelVersion, registry: str | None, cache: ModelCache
) -> ModelDiffRecord:
    """The differences of two versions.

    Args:
        before: A version, or a logged model.
        after: Another one, of any model.
        registry: As a job names it.
        cache: Models of this host. Both are fetched and verified.

    Raises:
        ModelDigestError: The artifacts of one are not those that were pinned.
        ModelLoadError: One has no readable MLmodel file.
        StorageUnavailableError: The registry does not answer.
    """
    old, new = (_describe(version, registry, cache) for version in (before, after))
    changes: dict[str, tuple[ChangeRecord, ...]] = {}
    same: list[str] = []
    unknown: dict[str, str] = {}

    for aspect in {**old.aspects, **new.aspects}:
        why = _why_not_stored(aspect, (before, old), (after, new))
        if why:
            unknown[aspect] = why
            continue

        changed = _changes(old.aspects[aspect], new.aspects[aspect])
        if changed:
            changes[aspect] = changed
        else:
            same.append(aspect)

    return ModelDiffRecord(
        before=before.uri, after=after.uri, changes=changes, same=tuple(same), not_stored=unknown
    )


def _why_not_stored(aspect: str, *sides: tuple[ModelVersion, Description]) -> str:
    """Why an aspect cannot be compared; empty: it can be."""
    reasons = {
        str(version): described.unknown[aspect]
        for version, described in sides
        if aspect in described.unknown
    }
    if len(reasons) == len(sides) and len(set(reasons.values())) == 1:
        return f"of both: {next(iter(reasons.values()))}"

    return "; ".join(f"of {version}: {reason}" for version, reason in reasons.items())


def describe_not_stored(why: str) -> str:
    """For which versions an aspect is not stored, and why, as the end of a sentence.

    Logs of releases have had `of both: ...` and `of model 7: ...` from the beginning.
    """
    both = "of both: "
    if why.startswith(both):
        return f"for either version: {why.removeprefix(both)}"
    return f"for {why.removeprefix('of ')}"


def _changes(old: Values, new: Values) -> tuple[ChangeRecord, ...]:
    """What was removed, what was added, and what has another value."""
    names = {**old, **new}
    records = [
        ChangeRecord(what=name, before=old.get(name, ""), after=new.get(name, "")) for name in names
    ]
    changed = [record for record in records if record.before != record.after]

    both = [name for name in old if name in new]
    if both != [name for name in new if name in old]:
        changed.append(ChangeRecord(what="order", before=", ".join(old), after=", ".join(new)))

    return tuple(changed)


def _describe(version: ModelVersion, registry: str | None, cache: ModelCache) -> Description:
    mlmodel = read_mlmodel(fetch(version, registry, cache).path)
    parameters = None

    if not version.is_logged_model:
        with open_registry(registry_uri(registry)) as opened:
            parameters = opened.parameters(version.name, version.version)

    features, outputs = _features(mlmodel), _outputs(mlmodel)
    digest = baseline_digest(version)
    baseline = {"baseline": digest[:SHOWN_DIGITS]} if digest else {}

    aspects: dict[str, Values] = {
        "features": features,
        "outputs": outputs,
        "parameters": dict(sorted((parameters or {}).items())),
        "flavors": dict.fromkeys(sorted(mlmodel.flavors), "yes"),
        "libraries": mlmodel.trained_with,
        "baseline": baseline,
        "size": _size(mlmodel),
    }

    unknown: dict[str, str] = {}
    if not features:
        unknown["features"] = "its signature names no inputs"
    if not outputs:
        unknown["outputs"] = "its signature names no outputs"
    if not parameters:
        unknown["parameters"] = "neither a training run nor a logged model has any"

    return Description(aspects, unknown)


def _features(mlmodel: MlModel) -> Values:
    if mlmodel.inputs:
        return {
            feature.name: feature.type + ("" if feature.required else ", optional")
            for feature in mlmodel.inputs
        }

    if mlmodel.tensor_dtype is not None:
        width = "" if mlmodel.tensor_width is None else f", {mlmodel.tensor_width} columns"
        return {"tensor": mlmodel.tensor_dtype + width}
    return {f"column {i}": kind for i, kind in enumerate(mlmodel.positional)}


def _outputs(mlmodel: MlModel) -> Values:
    names = mlmodel.output_names
    if not names:
        names = tuple(f"output {i}" for i in range(len(mlmodel.output_types)))
    return dict(zip(names, mlmodel.output_types, strict=False))


def _size(mlmodel: MlModel) -> Values:
    files = check_tree(mlmodel.folder)
    n_bytes = sum(path.stat().st_size for path in files)
    return {"files": f"{len(files):,}", "bytes": f"{n_bytes:,}"}
