"""The scenarios: what data, which model, how many rows, and what has changed on the day."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tests.bench.estimates.case import Case, Floats
from tests.bench.estimates.flight_rows import Flights, sample_case
from tests.bench.estimates.made_rows import Made, kept, make_case, moved, stretched

Kind = Literal["none", "size", "covariate", "prior", "concept"]
KINDS: dict[Kind, str] = {
    "none": "nothing has changed",
    "size": "nothing has changed; small and large baselines and days",
    "covariate": "P(features) has changed, P(label | features) has not",
    "prior": "the share of positive rows has changed, P(features | label) has not",
    "concept": "P(label | features) has changed: no estimate can see it",
}
"""What has changed between baseline and day."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One row of the table."""

    name: str
    kind: Kind
    data: Made | Flights
    model: str = "linear"
    """A kind of `fitted_models.fit`."""
    n_training: int = 5_000
    n_baseline: int = 5_000
    n_day: int = 5_000
    threshold: float = 0.5

    def case(self, seed: int) -> Case:
        """One day, with a model and a baseline of its own."""
        sizes = (self.n_training, self.n_baseline, self.n_day)
        if isinstance(self.data, Made):
            return make_case(self.data, self.model, sizes, self.threshold, seed)
        return sample_case(self.data, self.model, sizes, self.threshold, seed)


def _upper(x: Floats) -> Floats:
    """Four times as many rows where the first feature is above 1."""
    return np.where(x[:, 0] > 1, 1.0, 0.1)


def _alike(x: Floats) -> Floats:
    """Rows whose first two features agree in sign."""
    return np.where(x[:, 0] * x[:, 1] > 0, 1.0, 0.2)


def _favour(column: str, least: float, otherwise: float) -> Any:
    """Keep all flights from a value on, and of the others a share."""

    def chance(frame: Any) -> Floats:
        return np.where(frame[column].to_numpy() >= least, 1.0, otherwise)

    return chance


def _from(origin: str, otherwise: float) -> Any:
    def chance(frame: Any) -> Floats:
        return np.where(frame["origin"].to_numpy() == origin, 1.0, otherwise)

    return chance


CURVED = {"curve": 1.0, "interaction": 0.7}
"""Parts of the log odds that a linear model does not see."""
BIG: dict[str, Any] = {"n_baseline": 10_000, "n_day": 10_000}
RARE: dict[str, Any] = {"n_baseline": 20_000, "n_day": 20_000, "threshold": 0.1}
WINTER: dict[str, Any] = {"trained_on": (1, 3), "months": (4, 12)}
"""The demo's model: fitted on January to March. Later it is not calibrated."""
OF_FLIGHTS: dict[str, Any] = {"n_training": 10_000, "threshold": 0.3, **BIG}

SCENARIOS = (
    # Nothing has changed.
    Scenario(name="calibrated, half positive", kind="none", data=Made(share=0.5)),
    Scenario(
        name="calibrated, 5 % positive",
        kind="none",
        data=Made(share=0.05, n_features=20),
        **BIG | {"threshold": 0.15},
    ),
    Scenario(name="calibrated, 2 % positive", kind="none", data=Made(share=0.02), **RARE),
    Scenario(
        name="boosted trees", kind="none", data=Made(n_features=10, **CURVED), model="boosted"
    ),
    Scenario(
        name="overfitted trees, far too sure",
        kind="none",
        data=Made(n_features=10, **CURVED),
        model="overfitted",
        n_training=1_500,
    ),
    Scenario(
        name="naive Bayes, correlated features, too sure",
        kind="none",
        data=Made(n_features=10, correlation=0.7),
        model="bayes",
    ),
    Scenario(
        name="a tree of 12 leaves, tied scores", kind="none", data=Made(**CURVED), model="leaves"
    ),
    Scenario(
        name="flights, boosted trees of winter",
        kind="none",
        data=Flights(**WINTER),
        model="boosted",
        **OF_FLIGHTS,
    ),
    # Sizes.
    Scenario(name="baseline 1,000, day 500", kind="size", data=Made(), n_baseline=1_000, n_day=500),
    Scenario(
        name="baseline 1,000, day 20,000", kind="size", data=Made(), n_baseline=1_000, n_day=20_000
    ),
    Scenario(
        name="baseline 20,000, day 20,000",
        kind="size",
        data=Made(**CURVED),
        model="boosted",
        n_baseline=20_000,
        n_day=20_000,
    ),
    Scenario(
        name="flights, baseline 2,000, day 1,000",
        kind="size",
        data=Flights(**WINTER),
        model="boosted",
        **OF_FLIGHTS | {"n_baseline": 2_000, "n_day": 1_000},
    ),
    # Features have moved; what the label depends on has not.
    Scenario(
        name="first feature + 1",
        kind="covariate",
        data=Made(shift=moved({0: 1.0}), **CURVED),
        **BIG,
    ),
    Scenario(
        name="first feature - 1",
        kind="covariate",
        data=Made(shift=moved({0: -1.0}), **CURVED),
        **BIG,
    ),
    Scenario(
        name="first feature + 1, 2 % positive",
        kind="covariate",
        data=Made(share=0.02, shift=moved({0: 1.0}), curve=0.7),
        **RARE,
    ),
    Scenario(
        name="first feature + 1, half positive, 20 features",
        kind="covariate",
        data=Made(share=0.5, n_features=20, shift=moved({0: 1.0}), **CURVED),
        **BIG,
    ),
    Scenario(
        name="first feature spread by 1.5",
        kind="covariate",
        data=Made(shift=stretched({0: 1.5}), **CURVED),
        **BIG,
    ),
    Scenario(
        name="first two features spread by 0.5",
        kind="covariate",
        data=Made(shift=stretched({0: 0.5, 1: 0.5}), **CURVED),
        **BIG,
    ),
    Scenario(
        name="ten times as many rows above 1",
        kind="covariate",
        data=Made(shift=kept(_upper), n_drawn=8, **CURVED),
        **BIG,
    ),
    Scenario(
        name="two features agree more often",
        kind="covariate",
        data=Made(interaction=1.2, shift=kept(_alike), n_drawn=3),
        **BIG,
    ),
    Scenario(
        name="first feature + 1, naive Bayes",
        kind="covariate",
        data=Made(n_features=8, correlation=0.5, shift=moved({0: 1.0}), **CURVED),
        model="bayes",
        **BIG,
    ),
    Scenario(
        name="first feature + 1, overfitted trees",
        kind="covariate",
        data=Made(n_features=10, shift=moved({0: 1.0}), **CURVED),
        model="overfitted",
        **BIG | {"n_training": 1_500},
    ),
    Scenario(
        name="flights of winter's model, from Newark",
        kind="covariate",
        data=Flights(chance=_from("EWR", 0.05), **WINTER),
        model="boosted",
        **OF_FLIGHTS,
    ),
    Scenario(
        name="flights of winter's model, after 17:00",
        kind="covariate",
        data=Flights(chance=_favour("sched_dep_minute", 17 * 60, 0.1), **WINTER),
        model="boosted",
        **OF_FLIGHTS,
    ),
    Scenario(
        name="flights, linear model, after 17:00",
        kind="covariate",
        data=Flights(chance=_favour("sched_dep_minute", 17 * 60, 0.1)),
        **OF_FLIGHTS,
    ),
    Scenario(
        name="flights, linear model, with rain",
        kind="covariate",
        data=Flights(chance=_favour("precip", 0.005, 0.03)),
        **OF_FLIGHTS | {"n_day": 5_000},
    ),
    # The share of positive rows has changed.
    Scenario(
        name="from 20 to 40 % positive",
        kind="prior",
        data=Made(share=0.2, day_share=0.4, n_drawn=3),
    ),
    Scenario(
        name="from 5 to 10 % positive",
        kind="prior",
        data=Made(share=0.05, day_share=0.1, n_drawn=3),
        **BIG | {"threshold": 0.15},
    ),
    Scenario(
        name="flights, from 24 to 35 % late",
        kind="prior",
        data=Flights(day_share=0.35),
        model="boosted",
        **OF_FLIGHTS,
    ),
    # What the label depends on has changed.
    Scenario(
        name="features say half as much",
        kind="concept",
        data=Made(concept={"strength": 0.75}),
    ),
    Scenario(
        name="all odds doubled",
        kind="concept",
        data=Made(share=0.2, concept={"intercept": 0.7}),
    ),
    Scenario(
        name="flights, baseline of April to August, day of September on",
        kind="concept",
        data=Flights(trained_on=(1, 3), months=(4, 8), day_months=(9, 12)),
        model="boosted",
        **OF_FLIGHTS,
    ),
)
