"""A release of a model version in the Prefect UI: what is known of it, and what became of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nightscore.flows.ui.artifacts import artifact_key
from nightscore.flows.ui.markdown import code, escaped, prose
from nightscore.ledger.release_log import Release
from nightscore.models.model_diff import describe_not_stored
from nightscore.monitoring.decisions.wording import describe_details, describe_standing
from nightscore.monitoring.performance.estimates.wording import (
    LABELS,
    OVER_TIME,
    metric_of,
    show_metric,
)
from nightscore.operations.releases.appraisal import Appraisal
from nightscore.schemas.performance import MetricRecord
from nightscore.schemas.release_entry import (
    BaselineEvidence,
    ChangeRecord,
    CheckEvidence,
    EvidenceRecord,
    ModelDiffRecord,
    PartitionEvidence,
    ReleaseEntry,
)

SHOWN_METRICS = 1
"""Of a version's partitions: Prefect cuts off what a wider table has on the right."""
SWITCH = "--without-labels"
"""As errors call it, which are for commands, too."""
SHOWN_CHANGES = 40
"""Changes of one aspect that are listed; `nightscore model diff` shows all."""

HOW_TO_READ = (
    "Of each loss you see challenger minus champion, an interval that holds however often you "
    "look, and the champion's own loss. Less is better."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePage:
    """What a page shows."""

    job: str
    """Its name."""
    alias: str
    before: str | None
    """The version that is live, or was. None: there was no alias."""
    after: str
    by: str
    note: str
    decided: str = ""
    """Who has approved or rejected it. Empty: nobody, or it was not proposed."""
    jobs: Sequence[str] = ()
    """That the alias moves."""
    problems: Sequence[str] = ()
    """What keeps the version from going live."""
    evidence: EvidenceRecord | None = None
    diff: ModelDiffRecord | None = None
    compare_url: str = ""
    """Of the page of the job's challengers; empty if no server has it."""
    performance_url: str = ""
    """Of the page of all metrics; empty if no server has it."""


def page_of_appraisal(appraisal: Appraisal, by: str, note: str) -> ReleasePage:
    """The page of a version that is not live."""
    return ReleasePage(
        job=appraisal.target.job.name,
        alias=str(appraisal.target.alias),
        before=None if appraisal.live is None else appraisal.live.version,
        after=appraisal.candidate.version,
        by=by,
        note=note,
        problems=appraisal.problems,
        evidence=appraisal.evidence,
        diff=appraisal.diff,
    )


def page_of_release(release: Release) -> ReleasePage:
    """The page of an entry of the release log."""
    entry = release.entry
    return ReleasePage(
        job=entry.job,
        alias=f"{entry.model}@{entry.alias}",
        before=None if entry.before is None else entry.before.version,
        after=entry.after.version,
        by=entry.by,
        note=entry.note,
        decided=_decision_of(entry),
        jobs=entry.jobs,
        evidence=entry.evidence,
        diff=entry.diff,
    )


def _decision_of(entry: ReleaseEntry) -> str:
    decision = entry.decision
    if decision is None:
        return ""

    note = f": {decision.note}" if decision.note else ""
    compared = f" (by then {describe_standing(entry.at_approval)})" if entry.at_approval else ""
    return f"{decision.verdict} by {decision.by}{note}{compared}"


def live_message(release: Release) -> str:
    """That a version is live, in a sentence."""
    entry = release.entry
    return f"Version {entry.after.version} is live: {entry.model}@{entry.alias} means it."


def release_markdown(
    page: ReleasePage, message: str, put_back: Sequence[Sequence[str]] = ()
) -> str:
    """The page as Markdown.

    Args:
        page: What it shows.
        message: What became of the release, in a sentence; the first thing that is read.
        put_back: Partitions whose predictions were put back, and what became of each.
    """
    before = "no version" if page.before is None else f"version {page.before}"
    facts = [("by", page.by), ("note", page.note), ("decided", page.decided)]
    facts.append(("moves", ", ".join(page.jobs)))

    lines = [f"## {escaped(page.alias)}: {before} → version {page.after}", ""]
    lines += [f"**{prose(message)}**", ""]
    for name, value in facts:
        if value:
            lines.append(f"- {name}: {escaped(value)}")
    lines.append("")

    if page.problems:
        lines += _problem_lines(page.problems)

    if put_back:
        lines += ["### Predictions", "", *_table(("partition", "what became of it"), put_back)]
    if page.evidence is not None:
        lines += _evidence_lines(page.evidence, page)
    if page.diff is not None:
        lines += _diff_lines(page.diff)
    if page.evidence is not None and page.evidence.checks:
        lines += _check_lines(page.evidence.checks)

    return "\n".join(lines)


def _problem_lines(problems: Sequence[str]) -> Iterator[str]:
    yield from ("### What keeps it from going live", "")
    yield from _bullets(problems)
    if any(SWITCH in problem for problem in problems):
        yield from (f"In the form, {code(SWITCH)} is the switch {code('without_labels')}.", "")


def _evidence_lines(evidence: EvidenceRecord, page: ReleasePage) -> Iterator[str]:
    yield from _comparison_lines(evidence, page)
    if evidence.baselines:
        yield from _baseline_lines(evidence.baselines)
    if evidence.live:
        yield from _partition_lines(evidence.live, "### The live version's latest partitions")
    if evidence.challenger:
        title = "### What the new version has scored as a challenger"
        yield from _partition_lines(evidence.challenger, title)

    if evidence.live and page.performance_url:
        yield from (f"[All metrics of the job's partitions]({page.performance_url})", "")


def _check_lines(checks: Sequence[CheckEvidence]) -> Iterator[str]:
    rows = []
    for check in checks:
        rows.append((check.name, check.state, check.found))

    yield from ("### What a run of it needs", "")
    yield from _table(("check", "result", "found"), rows)


def _comparison_lines(evidence: EvidenceRecord, page: ReleasePage) -> Iterator[str]:
    """What compares both versions on the same rows, or why nothing does."""
    standing = ""

    if evidence.comparison is not None:
        standing = describe_standing(evidence.comparison)
        yield from ("### Both on the same rows", "")
        yield from _bullets([standing, *describe_details(evidence.comparison)])

        if evidence.comparison.losses:
            yield from (HOW_TO_READ, "")
        yield from (_where_they_differ(page), "")

    reasons = [why for why in evidence.no_comparison if why != standing]
    if not reasons and not evidence.without_labels:
        return

    yield from ("### Nothing shows by labels that it is better", "")
    yield from _bullets(reasons)

    if evidence.without_labels:
        yield from ("It was accepted that nothing shows by labels that it is better.", "")


def _where_they_differ(page: ReleasePage) -> str:
    artifact = code(artifact_key(page.job, "challengers"))
    command = code(f"nightscore compare {page.job}")
    text = (
        f"The artifact {artifact} of a partition's run and {command} show how predictions differ."
    )
    if page.compare_url:
        text += f" **[Open the page of all partitions]({page.compare_url})**"
    return text


def _baseline_lines(baselines: Sequence[BaselineEvidence]) -> Iterator[str]:
    """How right each version was on its own hold-out data."""
    names = _known_names([one.metrics for one in baselines])
    rows = [(f"version {one.version}", *_cells(one.metrics, names), one.note) for one in baselines]

    yield from ("### Baselines", "")
    yield "Each is of rows of its own. Side by side they are no comparison."
    yield ""
    yield from _table(("of", *(LABELS.get(name, name) for name in names), "note"), rows)


def _partition_lines(partitions: Sequence[PartitionEvidence], title: str) -> Iterator[str]:
    """What was estimated and came true of a version's latest partitions."""
    stored: list[Sequence[MetricRecord]] = []
    for one in partitions:
        stored += [one.estimated, one.realised]

    names = _known_names(stored)[:SHOWN_METRICS]
    header = ["partition", "rows"]

    for name in names:
        label = LABELS.get(name, name)
        header += [f"{label} estimated", f"{label} came true"]

    rows = []
    for one in reversed(partitions):
        cells = [_partition_cell(one), f"{one.rows:,}"]
        for name in names:
            cells += [*_cells(one.estimated, [name]), *_cells(one.realised, [name])]

        rows.append(cells)

    yield from (title, "")
    yield from _table(header, rows)


def _partition_cell(one: PartitionEvidence) -> str:
    """The partition; if its labels do not stand for all rows, that too."""
    if one.realised and not one.is_matured:
        return f"{one.partition} (more labels to come)"
    if one.is_selection:
        return f"{one.partition} (a selection by score)"
    return one.partition


def _known_names(stored: Sequence[Sequence[MetricRecord]]) -> list[str]:
    """The metrics that are drawn over time, as far as any of these has them."""
    known: set[str] = set()
    for metrics in stored:
        known.update(one.name for one in metrics if one.value is not None)
    return [name for name in OVER_TIME if name in known]


def _cells(metrics: Sequence[MetricRecord], names: Sequence[str]) -> list[str]:
    found = [metric_of(metrics, name) for name in names]
    return ["" if metric is None else show_metric(metric) for metric in found]


def _diff_lines(diff: ModelDiffRecord) -> Iterator[str]:
    rows: list[tuple[str, str, str, str]] = []

    for aspect, changes in diff.changes.items():
        rows += [_change_row(aspect, change) for change in changes[:SHOWN_CHANGES]]
        if len(changes) > SHOWN_CHANGES:
            rows.append((aspect, f"and {len(changes) - SHOWN_CHANGES:,} more", "", ""))

    yield from ("### What differs between the two", "")
    if rows:
        yield from _table(("aspect", "what", diff.before, diff.after), rows)

    if diff.same:
        yield from (f"The same: {escaped(', '.join(diff.same))}.", "")
    for aspect, why in diff.not_stored.items():
        yield from (f"{escaped(aspect)}: not stored {escaped(describe_not_stored(why))}.", "")

    yield from (f"All of it: {code(f'nightscore model diff {diff.before} {diff.after}')}", "")


def _change_row(aspect: str, change: ChangeRecord) -> tuple[str, str, str, str]:
    return aspect, change.what, change.before or "none", change.after or "none"


def _bullets(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        yield f"- {prose(text)}"
    yield ""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(map(escaped, header))} |"
    yield f"| {' | '.join(['---'] * len(header))} |"
    for row in rows:
        yield f"| {' | '.join(map(escaped, row))} |"
    yield ""
