"""What is asked, beside what was measured."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class Figure:
    """One figure of a bar."""

    bar: int
    what: str
    measured: float
    asked: float
    is_at_most: bool
    """Whether less is better."""
    unit: str = ""
    basis: str = ""
    """The measurements that it was made of."""

    @property
    def is_met(self) -> bool:
        if self.is_at_most:
            return self.measured <= self.asked
        return self.measured >= self.asked


def at_most(
    bar: int, what: str, measured: float, asked: float, *, unit: str = "", basis: str = ""
) -> Figure:
    """A figure for which less is better."""
    return Figure(bar, what, measured, asked, True, unit, basis)


def at_least(
    bar: int, what: str, measured: float, asked: float, *, unit: str = "", basis: str = ""
) -> Figure:
    """A figure for which more is better."""
    return Figure(bar, what, measured, asked, False, unit, basis)


def as_text(figures: Iterable[Figure]) -> Iterator[str]:
    """One line a bar, and below it one line a figure."""
    for bar, group in groupby(figures, lambda figure: figure.bar):
        of_bar = list(group)
        n_met = sum(figure.is_met for figure in of_bar)
        yield f"bar {bar}: {_verdict(n_met == len(of_bar))}, {n_met} of {len(of_bar)} figures"
        yield from map(_line, of_bar)


def _line(figure: Figure) -> str:
    asked = f"at {'most' if figure.is_at_most else 'least'} {_number(figure.asked)}{figure.unit}"
    measured = f"{_number(figure.measured)}{figure.unit}"
    basis = f"  ({figure.basis})" if figure.basis else ""
    verdict = _verdict(figure.is_met)
    return f"    {verdict:<7}{figure.what}: {measured}, asked {asked}{basis}"


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "MISSED"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
