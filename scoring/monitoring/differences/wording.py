"""What a difference between two models is, in sentences."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from nightscore.schemas.difference import (
    ClassesRecord,
    DeltaRecord,
    DifferenceRecord,
    FlipsRecord,
    GroupRecord,
    KeyRecord,
    RankRecord,
)
from nightscore.schemas.text import counted

MOST_CHANGES = 3
"""Changes of class that a sentence names."""
CLASS_SCORE = "probability of the champion's class"
NO_SCORE = (
    "The two models have no score in common: one has none, or their outputs or classes are others. "
    "So only what they refuse and what they cost is compared."
)
LEAST_CPU_S = 0.1
"""CPU seconds of the champion below which costs are not compared."""
PERCENT = 0.0001
"""Shares below this are not shown as 0 %."""


def describe_difference(found: DifferenceRecord) -> list[str]:
    """What a reader should know of a difference, the most important first."""
    sentences = [] if has_score(found) else [NO_SCORE]

    if found.flips is not None:
        sentences.append(describe_flips(found.flips))
    if found.classes is not None:
        sentences.append(describe_classes(found.classes))

    if found.where is not None:
        sentences.append(describe_where(found.where, is_of_sample(found)))
    if found.delta is not None:
        sentences.append(describe_delta(found.delta, score_name(found)))

    if found.ranks is not None:
        sentences.append(describe_ranks(found.ranks))
    sentences += _overlaps(found)
    sentences += _not_scored(found)

    cost = describe_cost(found)
    return [*sentences, cost] if cost else sentences


def has_score(found: DifferenceRecord) -> bool:
    """Whether both models have a score that can be compared."""
    return bool(found.score) or found.classes is not None


def score_name(found: DifferenceRecord) -> str:
    """What is compared."""
    return found.score or CLASS_SCORE


def describe_flips(flips: FlipsRecord) -> str:
    """Rows that are decided differently."""
    n = flips.n00 + flips.n01 + flips.n10 + flips.n11
    n_flips = flips.n01 + flips.n10
    if not n_flips:
        return f"Both models decide alike on all {counted(n, 'row')} (threshold {flips.threshold})."
    return (
        f"{counted(n_flips, 'row')} of {n:,} ({show_part(n_flips / n)}) would be decided "
        f"differently at the threshold {flips.threshold}: {flips.n01:,} become positive, "
        f"{flips.n10:,} become negative."
    )


def describe_classes(classes: ClassesRecord) -> str:
    """Rows that get another class."""
    n = classes.n_same + classes.n_changed
    if not classes.n_changed:
        return f"Both models give all {counted(n, 'row')} the same class."

    changes = []

    for change in classes.changes[:MOST_CHANGES]:
        names = [name or "(other)" for name in (change.champion, change.challenger)]
        changes.append(f"{names[0]} to {names[1]} {change.n:,}")

    return (
        f"{counted(classes.n_changed, 'row')} of {n:,} ({show_part(classes.n_changed / n)}) get "
        f"another class, most often {', '.join(changes)}."
    )


def describe_where(group: GroupRecord, is_of_sample: bool = False) -> str:
    """Where the predictions differ most."""
    rows = "sampled rows" if is_of_sample else "rows"
    ratio = group.ratio
    size = "they differ only there" if ratio is None else f"{ratio:.1f} times the mean elsewhere"
    return (
        f"They differ most where {show_group(group)}: {size} "
        f"({show_part(group.share)} of the {rows}, mean difference {group.mean:+.3g})."
    )


def is_of_sample(found: DifferenceRecord) -> bool:
    """Whether the groups are of some of the rows only."""
    return found.n_sampled is not None and found.n_sampled < found.n - found.n_not_compared


def describe_sample(found: DifferenceRecord) -> str:
    """Which rows the groups are of. Empty: of all."""
    if found.n_sampled is None:
        return "Whether this is a sample of the rows is not stored."
    if not is_of_sample(found):
        return ""

    n_compared = found.n - found.n_not_compared
    return f"This is a sample: {found.n_sampled:,} of {counted(n_compared, 'row')}."


def show_group(group: GroupRecord) -> str:
    """The rows of a group, as a condition."""
    return _show(group, _CONDITIONS)


def show_bounds(group: GroupRecord) -> str:
    """The same without the name of the column."""
    return _show(group, _RANGES)


def describe_delta(delta: DeltaRecord, score: str) -> str:
    """How large the differences are."""
    if delta.least == delta.greatest == 0:
        return f"The {score} is the same in each row."

    low, high = _quantile(delta, 0.05), _quantile(delta, 0.95)
    spread = "" if delta.spread is None else f", spread {delta.spread:.3g}"
    return (
        f"The challenger's {score} differs by {delta.mean:+.3g} on average (mean size "
        f"{delta.mean_absolute:.3g}{spread}), and by {low:+.3g} to {high:+.3g} in 90 % of the rows."
    )


def describe_ranks(ranks: RankRecord) -> str:
    """Whether both put rows into the same order."""
    if ranks.spearman is None:
        return f"The rank correlation is not known. {ranks.note}"
    return (
        f"Rank correlation {ranks.spearman:.4f} (between {ranks.low:.4f} and {ranks.high:.4f}, "
        f"from {counted(ranks.n, 'row')})."
    )


def show_key(row: KeyRecord) -> str:
    """The keys of a row."""
    return ", ".join(f"{name}={value}" for name, value in row.key.items())


def describe_cost(found: DifferenceRecord) -> str:
    """What the challenger costs; empty: it was not measured, or is too little to tell."""
    champion, challenger = found.champion_cpu_s, found.challenger_cpu_s
    if champion is None or challenger is None or champion < LEAST_CPU_S:
        return ""

    return (
        f"The workers took {champion:.1f} CPU s for the champion, and {challenger:.1f} more for "
        f"the challenger ({show_part(challenger / champion)})."
    )


def show_part(share: float) -> str:
    """A share in percent."""
    if 0 < share < PERCENT:
        return f"under {PERCENT:.2%}".replace("%", " %")
    return f"{100 * share:.3g} %"


def _overlaps(found: DifferenceRecord) -> Iterator[str]:
    if found.top:
        shown = [f"{top.n_common:,} of {top.k:,}" for top in found.top]
        scores = "scores" if found.score else "probabilities of the champion's class"
        yield f"Of the highest {scores}, both have {', '.join(shown)} in common."


def _not_scored(found: DifferenceRecord) -> Iterator[str]:
    refused = found.refused
    if refused.by_challenger_alone or refused.by_champion_alone:
        yield (
            f"The challenger alone refused {counted(refused.by_challenger_alone, 'row')}, the "
            f"champion alone {refused.by_champion_alone:,}."
        )
    if found.n_not_compared and has_score(found):
        yield f"{counted(found.n_not_compared, 'row')} had no two finite scores to compare."


def _quantile(delta: DeltaRecord, p: float) -> float:
    return next((one.value for one in delta.quantiles if one.p == p), float("nan"))


@dataclass(frozen=True, slots=True)
class _Words:
    """How a group's bounds are said."""

    value: str
    up_to: str
    above: str
    between: str


_CONDITIONS = _Words(
    value="{column} = {value}",
    up_to="{column} <= {up_to}",
    above="{column} > {above}",
    between="{above} < {column} <= {up_to}",
)
_RANGES = _Words(
    value="{value}", up_to="up to {up_to}", above="above {above}", between="{above} to {up_to}"
)


def _show(group: GroupRecord, words: _Words) -> str:
    above = "" if group.above is None else f"{group.above:g}"
    up_to = "" if group.up_to is None else f"{group.up_to:g}"

    if group.value is not None:
        return words.value.format(column=group.column, value=group.value)
    if above == up_to or _is_one_value(group):
        return words.value.format(column=group.column, value=up_to)

    words_of_bounds = {(True, True): words.between, (True, False): words.above}
    text = words_of_bounds.get((bool(above), bool(up_to)), words.up_to)
    return text.format(column=group.column, above=above, up_to=up_to)


def _is_one_value(group: GroupRecord) -> bool:
    """Whether a value is a bin of its own: no other number is between its bounds."""
    if group.above is None or group.up_to is None:
        return False
    return math.nextafter(group.above, math.inf) >= group.up_to
