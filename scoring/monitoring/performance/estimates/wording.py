"""Says estimates in words: for the terminal, the report and Prefect's pages."""

from collections.abc import Mapping, Sequence

from nightscore.schemas.performance import EstimateRecord, MetricRecord

LABELS: Mapping[str, str] = {
    "roc_auc": "AUC",
    "roc_auc_macro": "mean AUC of the classes",
    "average_precision": "average precision",
    "log_loss": "log loss",
    "brier": "Brier score",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "value": "value per row",
    "tp": "true positives",
    "fp": "false positives",
    "fn": "false negatives",
    "tn": "true negatives",
    "rmse": "RMSE",
    "mae": "MAE",
    "bias": "bias",
    "r2": "R²",
    "pinball": "pinball loss",
    "precision_macro": "mean precision of the classes",
    "recall_macro": "mean recall of the classes",
    "f1_macro": "mean F1 of the classes",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
}
"""What people read, in the order in which they see it."""
COUNTS = ("tp", "fp", "fn", "tn", "rows")
"""Metrics that are numbers of rows, of all classes or, as `rows[CLASS]`, of one."""
HEADLINE = ("roc_auc", "roc_auc_macro", "f1_macro", "rmse")
"""The metrics that a run's pages show."""
OVER_TIME = (
    "roc_auc",
    "roc_auc_macro",
    "log_loss",
    "accuracy",
    "f1",
    "f1_macro",
    "value",
    "mae",
    "rmse",
    "bias",
)
"""The metrics that are shown of several partitions, as far as they are known."""
CONCEPT_DRIFT = (
    "Estimates hold while a score means what it meant in the baseline. Neither they nor drift "
    "sees concept drift, a changed relation between features and label: only labels show it."
)
"""Said wherever people read estimates."""


def metric_name(text: str) -> str:
    """The name of the metric that people read as this: `AUC` is `roc_auc`. Else the text itself."""
    by_label = {label.lower(): name for name, label in LABELS.items()}
    return by_label.get(text.lower(), text)


def metric_of(metrics: Sequence[MetricRecord], name: str) -> MetricRecord | None:
    """The metric of this name."""
    return {metric.name: metric for metric in metrics}.get(name)


def show_number(value: float | None) -> str:
    """Three decimals; of a large number, such as a number of rows, none. Small ones keep digits."""
    if value is None:
        return "not known"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) >= 0.01 or not value else f"{value:.2g}"


def show_value(metric: MetricRecord) -> str:
    """The value. Numbers of rows are whole."""
    return _show(metric, metric.value)


def show_share(share: float | None) -> str:
    """As a percentage; empty: it is not known."""
    return "" if share is None else f"{share:.1%}"


def show_band(metric: MetricRecord) -> str:
    """The 95 % band; empty: there is none."""
    if metric.low is None or metric.high is None:
        return ""
    return f"{_show(metric, metric.low)} to {_show(metric, metric.high)}"


def show_metric(metric: MetricRecord) -> str:
    """The value and its band."""
    band = show_band(metric)
    value = show_value(metric)
    return f"{value} ({band})" if band else value


def _show(metric: MetricRecord, value: float | None) -> str:
    if metric.name.partition("[")[0] in COUNTS and value is not None:
        return f"{value:,.0f}"
    return show_number(value)


def headlines(estimate: EstimateRecord | None) -> list[tuple[str, str]]:
    """The metrics that matter most, each as a subject and a value; empty without an estimate."""
    found = []
    for name in HEADLINE:
        metric = metric_of(estimate.metrics, name) if estimate is not None else None
        if estimate is None or metric is None:
            continue

        text = show_metric(metric)
        baseline = metric_of(estimate.baseline, name)
        if baseline is not None and baseline.value is not None:
            text += f", baseline {show_number(baseline.value)}"
        if metric.note:
            text += f" ({metric.note})"
        found.append((f"Estimated {LABELS[name]}", text))

    return found
