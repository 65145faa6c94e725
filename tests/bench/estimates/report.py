"""The tables: errors of each scenario, of each kind, what a day costs, and what is met."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from tests.bench.estimates.case import METRICS
from tests.bench.estimates.measure import ADJUSTED, OURS, PEER, PLAIN
from tests.bench.estimates.scenarios import KINDS

ALL = "all scenarios"
MOST_OF_PEERS_ERROR = 1.0
"""Mean absolute error over all scenarios, as a share of the peer's."""
MOST_UNDER_COVARIATE_SHIFT = 0.5
TIMES_CHEAPER = 100
MOST_ADJUSTED_CPU_S = 1.0
HEADS = ("AUC", "AP", "accur.", "prec.", "recall", "F1")
"""Of the columns, in the order of `METRICS`."""


class Errors(NamedTuple):
    """Of one way in one scenario, or means of several."""

    by_metric: dict[str, float]
    """Mean absolute errors of the days for which all ways have an estimate."""
    covered: float
    """Share of these values that the 95 % band holds."""

    @property
    def mean(self) -> float:
        """Over the metrics."""
        return statistics.fmean(self.by_metric.values())


class Bar(NamedTuple):
    """One thing that is asked for."""

    asked: str
    found: str
    is_met: bool


def errors_of(scenario: dict[str, Any], ways: Sequence[str]) -> dict[str, Errors]:
    """The errors of each way: of the same days and metrics for all of them."""
    absolute: dict[str, dict[str, list[float]]] = {way: {} for way in ways}
    is_in: dict[str, list[bool]] = {way: [] for way in ways}

    for day in scenario["days"]:
        for name in METRICS:
            truth = day["truth"][name]
            told = {way: day["ways"][way]["metrics"][name] for way in ways}
            if truth is None or None in told.values():
                continue

            for way, (value, low, high) in told.items():
                absolute[way].setdefault(name, []).append(abs(value - truth))
                is_in[way].append(low <= truth <= high)

    return {
        way: Errors(
            {name: statistics.fmean(errors) for name, errors in absolute[way].items()},
            statistics.fmean(is_in[way]),
        )
        for way in ways
    }


def mean_of(several: Iterable[Errors]) -> Errors:
    """Means over scenarios, each counted once."""
    errors = list(several)
    by_metric = {}
    for name in METRICS:
        known = [one.by_metric[name] for one in errors if name in one.by_metric]
        if known:
            by_metric[name] = statistics.fmean(known)
    return Errors(by_metric, statistics.fmean(one.covered for one in errors))


def by_kind(result: dict[str, Any]) -> dict[str, dict[str, Errors]]:
    """Means of each kind of scenario, and of all, by way."""
    ways = result["ways"]
    of_scenarios = [
        (scenario["kind"], errors_of(scenario, ways)) for scenario in result["scenarios"].values()
    ]

    means = {}
    for kind in (*KINDS, ALL):
        chosen = [errors for name, errors in of_scenarios if kind in (name, ALL)]
        if chosen:
            means[kind] = {way: mean_of(errors[way] for errors in chosen) for way in ways}
    return means


def bars(result: dict[str, Any]) -> list[Bar]:
    """What is asked for, for each of our ways; nothing without the peer."""
    if PEER not in result["ways"]:
        return []

    found = []
    means = by_kind(result)
    for way in (way for way in OURS if way in result["ways"]):
        for kind, most in ((ALL, MOST_OF_PEERS_ERROR), ("covariate", MOST_UNDER_COVARIATE_SHIFT)):
            if kind in means:
                found.append(_error_bar(way, kind, means[kind], most))
    for n_rows, cost in result["cost"].items():
        found += _cost_bars(PLAIN, n_rows, cost)
        if ADJUSTED in cost:
            found.append(_adjusted_cost_bar(n_rows, cost))
    for n_rows, year in result.get("years", {}).items():
        found += _year_bars(n_rows, year)
    return found


def _error_bar(way: str, kind: str, means: dict[str, Errors], most: float) -> Bar:
    share = means[way].mean / means[PEER].mean
    metrics = []
    for name, head in zip(METRICS, HEADS, strict=True):
        if name in means[way].by_metric:
            own = means[way].by_metric[name] / means[PEER].by_metric[name]
            metrics.append(f"{head} {own:.2f}")
    words = f"{way}, {kind}: mean absolute error at most {most:g} times {PEER}'s"
    return Bar(words, f"{share:.3f} ({', '.join(metrics)})", share <= most)


def _cost_bars(way: str, n_rows: str, cost: dict[str, dict[str, float]]) -> Iterator[Bar]:
    mine, theirs = cost[way], cost[PEER]
    of_day = f"a day of {int(n_rows):,} rows"
    parts = (
        (f"{of_day}", theirs["day_cpu_s"] / mine["day_cpu_s"]),
        (
            f"{of_day}, from its stored profile",
            theirs["day_cpu_s"] / (mine["day_cpu_s"] - mine["counting_cpu_s"]),
        ),
        (f"{of_day} with its baseline", _whole_s(theirs) / _whole_s(mine)),
    )
    for words, times in parts:
        asked = f"{way}, {words}: at least {TIMES_CHEAPER} times cheaper than {PEER}"
        yield Bar(asked, f"{times:,.0f} times", times >= TIMES_CHEAPER)


def _year_bars(n_rows: str, year: dict[str, Any]) -> Iterator[Bar]:
    """Two readings: from what is in memory, and from what each way stores."""
    mine, theirs = year[PLAIN], year[PEER]
    days = f"{year['n_days']} days of {int(n_rows):,} rows in one call"
    parts = (
        (f"{days}, a day", ("estimate_cpu_s",)),
        (f"{days}, a day with decoding what is stored", ("reading_cpu_s", "estimate_cpu_s")),
    )
    for words, of_parts in parts:
        their_s, my_s = (sum(one[part] for part in of_parts) for one in (theirs, mine))
        asked = f"{PLAIN}, {words}: at least {TIMES_CHEAPER} times cheaper than {PEER}"
        yield Bar(asked, f"{their_s / my_s:,.0f} times", their_s / my_s >= TIMES_CHEAPER)


def _adjusted_cost_bar(n_rows: str, cost: dict[str, dict[str, float]]) -> Bar:
    cpu_s = cost[ADJUSTED]["day_cpu_s"]
    asked = f"{ADJUSTED}, a day of {int(n_rows):,} rows: under {MOST_ADJUSTED_CPU_S:g} CPU s"
    return Bar(asked, f"{cpu_s:.2f} CPU s", cpu_s < MOST_ADJUSTED_CPU_S)


def _whole_s(cost: dict[str, float]) -> float:
    return cost["baseline_cpu_s"] + cost["day_cpu_s"]


def show(result: dict[str, Any]) -> None:
    """Print the tables."""
    for line in lines(result):
        print(line)


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The tables as text."""
    machine = result["machine"]
    made_of = " ".join(f"{name} {one}" for name, one in result["versions"].items())
    theirs = " ".join(f"{name} {one}" for name, one in result["peer_versions"].items())
    yield ""
    yield f"{machine['cores']} cores ({machine['cpu']}); {made_of}; beside it: {theirs or 'none'}"
    yield f"Mean absolute errors of estimates in thousandths, {result['days']} days a scenario."
    yield f"covered: by 95 % bands. {PEER} draws 3 standard errors; here its band has 1.96."
    yield "No way sees concept drift: only labels show it."
    yield from _scenario_lines(result)
    yield from _kind_lines(result)
    yield from _cost_lines(result)
    yield from _year_lines(result)
    yield ""
    for bar in bars(result):
        yield f"{'met   ' if bar.is_met else 'MISSED'} {bar.asked}: {bar.found}"


def _scenario_lines(result: dict[str, Any]) -> Iterator[str]:
    for kind, meaning in KINDS.items():
        chosen = {name: one for name, one in result["scenarios"].items() if one["kind"] == kind}
        if not chosen:
            continue

        yield ""
        yield _row(f"{kind}: {meaning}", "", HEADS, "mean", "covered")
        for name, scenario in chosen.items():
            yield from _ways_lines(name, errors_of(scenario, result["ways"]))


def _kind_lines(result: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield _row("Means over scenarios", "", HEADS, "mean", "covered")
    for kind, of_ways in by_kind(result).items():
        n_scenarios = sum(kind in (one["kind"], ALL) for one in result["scenarios"].values())
        yield from _ways_lines(f"{kind} ({n_scenarios})", of_ways)


def _ways_lines(name: str, of_ways: dict[str, Errors]) -> Iterator[str]:
    for way, errors in of_ways.items():
        numbers = [_thousandths(errors.by_metric.get(metric)) for metric in METRICS]
        yield _row(name, way, numbers, _thousandths(errors.mean), f"{errors.covered:.0%}")
        name = ""


def _cost_lines(result: dict[str, Any]) -> Iterator[str]:
    if not result["cost"]:
        return

    yield ""
    yield f"CPU ms, beyond imports; once a baseline of {result['cost_baseline_rows']:,} rows, and a day"
    yield f"{'rows a day':<12}" + "".join(
        f"{way + ', baseline':>19} {'day':>9}" for way in result["ways"]
    )
    for n_rows, cost in result["cost"].items():
        numbers = []
        for way in result["ways"]:
            one = cost[way]
            numbers.append(f"{one['baseline_cpu_s'] * 1e3:>19,.1f} {one['day_cpu_s'] * 1e3:>9,.1f}")
        yield f"{int(n_rows):<12,}" + "".join(numbers)


def _year_lines(result: dict[str, Any]) -> Iterator[str]:
    if not result.get("years"):
        return

    yield ""
    yield "CPU ms a day of many days that are estimated in one call, and of decoding what is stored"
    yield f"{'rows a day':<12} {'days':>5} {'way':<8} {'estimate':>10} {'decoding':>10}"
    for n_rows, year in result["years"].items():
        for way in (way for way in (PLAIN, PEER) if way in year):
            numbers = [year[way][part] * 1e3 for part in ("estimate_cpu_s", "reading_cpu_s")]
            columns = "".join(f" {number:>10,.3f}" for number in numbers)
            yield f"{int(n_rows):<12,} {year['n_days']:>5} {way:<8}{columns}"


def _row(name: str, way: str, numbers: Sequence[str], mean: str, covered: str) -> str:
    columns = "".join(f"{number:>8}" for number in numbers)
    return f"{name:<60} {way:<8}{columns} {mean:>8} {covered:>8}"


def _thousandths(error: float | None) -> str:
    return "" if error is None else f"{error * 1e3:.1f}"
