"""URIs of models in MLflow: a version or an alias of a registered model, or a logged model."""

import json
import re
import shlex

MODEL_URI = re.compile(
    r"models:/(?:(?P<logged>m-[0-9a-f]{32})"
    r"|(?P<name>[^/@:]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+)))"
)
MODEL_URI_FORMS = "models:/<name>/<version>, models:/<name>@<alias> or models:/m-<id>"
"""What a model may be called, in words."""
LABELLED_FORMS = "models:/<name>@<alias> or models:/<name>/<version>"
"""Of these, what has a label: a version or an alias of a registered model."""
LOGGED_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
"""What MLflow 3 gives each model that `log_model` stores, registered or not."""


def alias_of(uri: str) -> tuple[str, str] | None:
    """The registered model and the alias that a URI names. None: it names one exact model."""
    match = MODEL_URI.fullmatch(uri)
    return (match["name"], match["alias"]) if match and match["alias"] else None


def label_of(uri: str) -> str:
    """What a challenger is called: its alias, or else its version. Empty: it is a logged model."""
    match = MODEL_URI.fullmatch(uri)
    return (match["alias"] or match["version"] or "") if match else ""


def is_logged_model(version: str) -> bool:
    """Whether what stands in place of a version is the id of a logged model."""
    return LOGGED_MODEL_ID.fullmatch(version) is not None


def exact_uri(name: str, version: str) -> str:
    """The URI of one exact model: `models:/name/3`, or `models:/m-...` of a logged model."""
    return f"models:/{version}" if is_logged_model(version) else f"models:/{name}/{version}"


def named_model(name: str, version: str) -> str:
    """What messages call one exact model."""
    return f"{name} {version}" if is_logged_model(version) else f"{name} version {version}"


def short_model_name(name: str, version: str) -> str:
    """The same where there is little room: `name v3`, or the first digits of the id."""
    return f"{name} {version[:10]}" if is_logged_model(version) else f"{name} v{version}"


def register_command(name: str, model_id: str, registry: str | None) -> str:
    """The command line that makes a logged model the next version of a registered one.

    Args:
        name: Of the registered model, which need not exist.
        model_id: Of the logged model.
        registry: Its MLflow URI, without credentials; None: MLflow's own default.
    """
    call = f'import mlflow; mlflow.register_model("models:/{model_id}", {json.dumps(name)})'
    command = shlex.join(["python", "-c", call])
    return f"MLFLOW_TRACKING_URI={shlex.quote(registry)} {command}" if registry else command
