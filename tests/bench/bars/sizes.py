"""How much each bar is measured with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Rows, files, columns and repeats. What a bar is asked at is `FULL`."""

    name: str
    file: str
    """Of the results."""
    repeats: int
    """Rounds, in each of which all ways of a bar run in turn. Medians count."""
    long_repeats: int
    """The same of runs that take ten seconds and more: noise is a smaller part of them."""
    short_repeats: int
    """The same of commands that take a second."""
    rows: int
    many_rows: int
    forest_rows: int
    days: int
    """Partitions of the year."""
    day_rows: int
    """Rows of one of them, and of the small partition."""
    files: int
    """Files of one partition."""
    file_rows: int
    wide_columns: int
    wide_rows: int
    classes: int
    class_rows: int
    few_published: int
    many_published: int
    """Partitions in the history of a job."""


FULL = Sizes(
    name="full",
    file="bars.json",
    repeats=3,
    long_repeats=2,
    short_repeats=5,
    rows=1_000_000,
    many_rows=10_000_000,
    forest_rows=500_000,
    days=365,
    day_rows=20_000,
    files=2_000,
    file_rows=500,
    wide_columns=3_000,
    wide_rows=20_000,
    classes=100,
    class_rows=100_000,
    few_published=100,
    many_published=10_000,
)
SMALL = Sizes(
    name="small",
    file="bars-small.json",
    repeats=1,
    long_repeats=1,
    short_repeats=1,
    rows=20_000,
    many_rows=60_000,
    forest_rows=20_000,
    days=4,
    day_rows=2_000,
    files=20,
    file_rows=100,
    wide_columns=60,
    wide_rows=2_000,
    classes=12,
    class_rows=2_000,
    few_published=3,
    many_published=12,
)
"""Shows that everything works, and nothing else: start-up is nearly all of it."""
SIZES = {size.name: size for size in (FULL, SMALL)}
