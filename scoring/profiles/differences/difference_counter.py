"""Comparing two models' predictions of a shard's rows, batch by batch, in a worker."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.arrays import from_numpy
from nightscore.arrow.numeric import numeric_values
from nightscore.arrow.row_hashes import row_hashes
from nightscore.arrow.xxh64 import Hashes
from nightscore.profiles.bins import Counts, Floats
from nightscore.profiles.class_codes import class_codes
from nightscore.profiles.class_counter import PREDICTED
from nightscore.profiles.differences.delta_codes import CodeCounts, delta_codes
from nightscore.profiles.differences.difference_counts import DifferenceCounts
from nightscore.profiles.differences.difference_spec import DifferenceSpec
from nightscore.profiles.differences.exact_sums import MOST_EXPONENT, exact_sum, far_from
from nightscore.profiles.differences.extreme_rows import (
    DifferingRow,
    candidates_of_most,
    most_differing,
)
from nightscore.profiles.differences.group_counts import SampledRows

Mask = npt.NDArray[np.bool_]
BLOCK_ROWS = 16_000
"""Rows that are compared at once. Arrays of more than 128 KiB are mapped anew each time."""
KEPT_ROWS = 32_768
"""Sampled rows that are counted at once. A call for each column of each batch would cost more."""
WAITING_EXTREMES = 1_024
"""Rows that may be among the highest, until they are ordered: most batches have few."""
MOST_DELTA = 2.0 ** (MOST_EXPONENT // 2)
"""Differences from here on are not compared: their squares cannot be added."""
GOLDEN = np.uint64(0x9E3779B185EBCA87)
"""2**64 divided by the golden ratio, to a prime."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model made of a batch."""

    is_scored: Mask
    """Which rows it has not refused, shape (n,)."""
    output: pa.Table
    """These rows as they are written: keys, or source file and row, and predictions."""


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The scores of rows that both models have scored."""

    champion: Floats
    challenger: Floats
    deltas: Floats
    rows: Counts
    """Where they stand in the batch."""
    places: Counts
    """Where they stand in the champion's output."""

    def choose(self, chosen: Mask | Counts) -> "_Pairs":
        """Some of the rows, by a mask or their places."""
        return _Pairs(
            self.champion[chosen],
            self.challenger[chosen],
            self.deltas[chosen],
            self.rows[chosen],
            self.places[chosen],
        )


@dataclass(frozen=True, slots=True)
class _Both:
    """The rows that both models have scored."""

    champion: pa.Table
    challenger: pa.Table
    rows: Counts
    """Where they stand in the batch."""
    places: Counts
    """Where they stand in the champion's output."""


class DifferenceCounter:
    """Counts how the predictions of two models differ."""

    def __init__(self, spec: DifferenceSpec) -> None:
        """Begin with no rows."""
        self._spec = spec
        self._counts = DifferenceCounts.empty(spec)
        self._all = np.empty(0, np.int64)
        self._kept: list[_KeptSample] = []
        self._extremes: list[tuple[Floats, Floats, pa.Table]] = []
        """Both scores and the keys of rows that may be among the highest."""
        self._deltas = CodeCounts()
        self._scratch = _Scratch(), _Scratch()

    def add(
        self,
        features: pa.Table,
        passthrough: pa.Table,
        positions: npt.NDArray[np.int64],
        *,
        champion: Scored,
        challenger: Scored,
    ) -> None:
        """Compare the rows of a batch.

        Args:
            features: All rows, as the models were given them. Columns to group by that are neither
                here nor in `passthrough` are left out.
            passthrough: Keys and passed-through columns of all rows.
            positions: Of all rows in their file, shape (n,). Which rows are grouped depends on them
                alone.
            champion: What the champion made of the batch.
            challenger: What the challenger made of it.
        """
        both = self._both(champion, challenger)
        self._count_refused(champion.is_scored, challenger.is_scored, len(both.rows))
        if not len(both.rows):
            return

        self._count_classes(both)
        pairs = self._pairs(both)
        if pairs is None:
            return

        self._count_scores(pairs)
        self._keep_extremes(pairs, champion.output)

        sample = self._sample(pairs, positions)
        self._keep_sample(sample, features, passthrough)

    def _both(self, champion: Scored, challenger: Scored) -> _Both:
        """The rows that both have scored."""
        n_rows = len(champion.is_scored)
        if champion.output.num_rows == challenger.output.num_rows == n_rows:
            if len(self._all) < n_rows:
                self._all = np.arange(n_rows)

            rows = self._all[:n_rows]
            return _Both(champion.output, challenger.output, rows, rows)

        is_both = champion.is_scored & challenger.is_scored
        is_of_champion, is_of_challenger = (
            is_both[champion.is_scored],
            is_both[challenger.is_scored],
        )
        return _Both(
            champion.output.filter(from_numpy(is_of_champion)),
            challenger.output.filter(from_numpy(is_of_challenger)),
            np.flatnonzero(is_both),
            np.flatnonzero(is_of_champion),
        )

    def counts(self) -> DifferenceCounts:
        """What was counted so far."""
        self._count_kept()
        self._count_extremes()
        counts = self._counts
        counts.deltas += self._deltas.take()
        return counts

    def _count_refused(self, by_champion: Mask, by_challenger: Mask, n_both: int) -> None:
        n_champion = int(np.count_nonzero(by_champion))
        n_challenger = int(np.count_nonzero(by_challenger))

        counts = self._counts
        counts.n_rows += n_both
        counts.n_refused_by_champion += n_challenger - n_both
        counts.n_refused_by_challenger += n_champion - n_both
        counts.n_refused_by_both += len(by_champion) - n_champion - n_challenger + n_both

    def _count_classes(self, both: _Both) -> None:
        classes = self._spec.classes
        if classes is None:
            return

        n_codes = len(classes.names) + 1

        codes = class_codes(both.champion.column(PREDICTED), classes.names).astype(np.int64)
        codes *= n_codes
        codes += class_codes(both.challenger.column(PREDICTED), classes.names)

        counted = np.bincount(codes, minlength=n_codes * n_codes)
        self._counts.confusion += counted.reshape(n_codes, n_codes)

    def _pairs(self, both: _Both) -> _Pairs | None:
        """The rows with two finite scores. None: there is nothing to compare."""
        scores = self._scores(both.champion, both.challenger)
        if scores is None:
            self._counts.n_not_compared += len(both.rows)
            return None

        deltas = self._scratch[0].floats(len(both.rows))
        with np.errstate(invalid="ignore", over="ignore"):
            np.subtract(scores[1], scores[0], out=deltas)

        pairs = _Pairs(*scores, deltas, both.rows, both.places)

        # One comparison of a whole batch, which is usual, in place of one for each row.
        least, greatest = float(deltas.min()), float(deltas.max())
        if not (least > -MOST_DELTA and greatest < MOST_DELTA):
            is_finite = np.abs(deltas) < MOST_DELTA
            self._counts.n_not_compared += int(len(deltas) - is_finite.sum())

            pairs = pairs.choose(is_finite)
            if not len(pairs.deltas):
                return None
            least, greatest = float(pairs.deltas.min()), float(pairs.deltas.max())

        self._counts.least = min(self._counts.least, least)
        self._counts.greatest = max(self._counts.greatest, greatest)
        return pairs

    def _scores(self, champion: pa.Table, challenger: pa.Table) -> tuple[Floats, Floats] | None:
        """The two scores of each row; null as NaN."""
        if self._spec.score:
            score = self._spec.score
            return _floats(champion.column(score)), _floats(challenger.column(score))
        if self._spec.classes is None:
            return None

        names = self._spec.classes.probabilities
        codes = class_codes(champion.column(PREDICTED), self._spec.classes.names)

        one = np.full(len(codes), np.nan)
        other = np.full(len(codes), np.nan)

        for place, name in enumerate(names):
            chosen = np.flatnonzero(codes == place)
            one[chosen] = _floats(champion.column(name))[chosen]
            other[chosen] = _floats(challenger.column(name))[chosen]
        return one, other

    def _count_scores(self, pairs: _Pairs) -> None:
        """Count the pairs of scores, in blocks that stay in the processor's cache."""
        counts = self._counts
        for start in range(0, len(pairs.deltas), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            champion, challenger = pairs.champion[block], pairs.challenger[block]
            deltas = pairs.deltas[block]

            counts.total += self._sum(deltas)
            self._deltas.add(delta_codes(deltas))

            if counts.threshold is not None:
                counts.decisions += _decisions(champion, challenger, counts.threshold)

    def _sum(self, deltas: Floats) -> int:
        """The sum of differences. Each is rounded, or is not, whatever stands beside it."""
        grain, counts = self._spec.grain, self._counts
        if grain is None:
            return exact_sum(deltas)

        if max(-counts.least, counts.greatest) < far_from(grain):
            return exact_sum(deltas, grain)

        is_far = np.abs(deltas) >= far_from(grain)
        return exact_sum(deltas[is_far]) + exact_sum(deltas[~is_far], grain)

    def _keep_extremes(self, pairs: _Pairs, output: pa.Table) -> None:
        """Keep the rows with the highest scores, and those that differ most."""
        counts = self._counts
        candidates = (
            counts.champion_top.candidates(pairs.champion),
            counts.challenger_top.candidates(pairs.challenger),
            candidates_of_most(pairs.deltas, counts.most),
        )

        chosen = np.unique(np.concatenate(candidates))
        if not len(chosen):
            return

        keys = output.select(list(self._spec.keys)).take(from_numpy(pairs.places[chosen]))
        self._extremes.append((pairs.champion[chosen], pairs.challenger[chosen], keys))

        if sum(len(scores) for scores, _, _ in self._extremes) >= WAITING_EXTREMES:
            self._count_extremes()

    def _count_extremes(self) -> None:
        """Order the rows that may be among the highest, or among those that differ most."""
        waiting, self._extremes = self._extremes, []
        if not waiting:
            return

        of_champion, of_challenger, of_keys = zip(*waiting, strict=True)
        champion, challenger = np.concatenate(of_champion), np.concatenate(of_challenger)
        keys = pa.concat_tables(of_keys)
        hashes = row_hashes(keys.columns)

        counts = self._counts
        counts.champion_top = counts.champion_top.plus(champion, hashes)
        counts.challenger_top = counts.challenger_top.plus(challenger, hashes)

        places = candidates_of_most(challenger - champion, counts.most)
        scores = champion[places], challenger[places]
        new = _differing_rows(scores, hashes[places], keys.take(from_numpy(places)))
        counts.most = most_differing(counts.most + new)

    def _sample(self, pairs: _Pairs, positions: npt.NDArray[np.int64]) -> _Pairs:
        """The rows that are counted by score and by group.

        Multiples of the golden ratio are spread evenly, without a period that a file could have.

        Source: H. Weyl, "Über die Gleichverteilung von Zahlen mod. Eins" (1916); D. Knuth, "The Art
        of Computer Programming", volume 3, 6.4 (Fibonacci hashing).
        """
        n_bits = self._spec.sample_bits
        if not n_bits:
            return pairs

        if len(pairs.rows) < len(positions):
            positions = positions[pairs.rows]

        hashes = self._scratch[1].floats(len(positions)).view(np.uint64)
        np.multiply(positions.view(np.uint64), GOLDEN, out=hashes)
        chosen = np.flatnonzero(hashes < np.uint64(1 << (64 - n_bits)))

        return pairs.choose(chosen)

    def _keep_sample(self, sample: _Pairs, features: pa.Table, passthrough: pa.Table) -> None:
        """Keep rows to be counted by both scores and by group, until there are enough."""
        n_rows = len(sample.rows)
        if not n_rows:
            return

        names = [column.name for column in self._spec.columns]
        columns = _columns(names, features, passthrough)
        if n_rows < features.num_rows:
            columns = columns.take(from_numpy(sample.rows))

        kept = _KeptSample(sample.champion, sample.challenger, columns)
        if self._kept and self._kept[0].columns.schema != columns.schema:
            self._count_kept()
        self._kept.append(kept)

        if sum(len(one.champion) for one in self._kept) >= KEPT_ROWS:
            self._count_kept()

    def _count_kept(self) -> None:
        """Count the rows that were kept."""
        kept, self._kept = self._kept, []
        if not kept:
            return

        champion = np.concatenate([one.champion for one in kept])
        challenger = np.concatenate([one.challenger for one in kept])
        weight = 1 << self._spec.sample_bits

        self._counts.n_sampled += len(champion)
        joint = self._counts.joint
        if joint is not None:
            joint.add(champion, challenger, weight)

        threshold, grain = self._spec.threshold, self._spec.grain
        compared = SampledRows.of(champion, challenger, threshold, grain=grain, weight=weight)

        # A call for each column of each batch would cost more than the counting.
        columns = pa.concat_tables([one.columns for one in kept])
        known = set(columns.column_names)

        for column in self._spec.columns:
            counted = self._counts.groups[column.name]
            if counted is not None and column.name in known:
                counted.add(column.codes(_one_chunk(columns.column(column.name))), compared)


class _Scratch:
    """Memory for numbers of one batch after another: to map it anew each time takes longer."""

    def __init__(self) -> None:
        self._array: Floats = np.empty(0)

    def floats(self, n: int) -> Floats:
        """An array of shape (n,), until the next call."""
        if len(self._array) < n:
            self._array = np.empty(n)
        return self._array[:n]


@dataclass(frozen=True, slots=True)
class _KeptSample:
    """Sampled rows of a batch."""

    champion: Floats
    challenger: Floats
    columns: pa.Table
    """What they are grouped by."""


def _decisions(champion: Floats, challenger: Floats, threshold: float) -> Counts:
    was, is_now = champion > threshold, challenger > threshold
    n_was, n_is = np.count_nonzero(was), np.count_nonzero(is_now)
    n_both = np.count_nonzero(was & is_now)
    n_neither = len(was) - n_was - n_is + n_both
    return np.array([[n_neither, n_is - n_both], [n_was - n_both, n_both]], np.int64)


def _differing_rows(
    scores: tuple[Floats, Floats], hashes: Hashes, keys: pa.Table
) -> list[DifferingRow]:
    texts: list[list[str | None]] = []
    for column in keys.columns:
        texts.append(column.cast(pa.string()).to_pylist())

    pairs = zip(scores[0].tolist(), scores[1].tolist(), strict=True)
    rows = []
    for place, (one, other) in enumerate(pairs):
        key = tuple(column[place] for column in texts)
        rows.append(DifferingRow(one, other, int(hashes[place]), key))
    return rows


def _columns(names: Sequence[str], features: pa.Table, passthrough: pa.Table) -> pa.Table:
    """Those of the columns that either table has."""
    of_features, of_others = set(features.column_names), set(passthrough.column_names)

    columns: dict[str, pa.ChunkedArray] = {}
    for name in names:
        if name in of_features:
            columns[name] = features.column(name)
        elif name in of_others:
            columns[name] = passthrough.column(name)
    return pa.table(columns)


def _one_chunk(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same values together. Dictionaries of batches may differ, so they stay apart."""
    if pa.types.is_dictionary(column.type):
        return column
    return pa.chunked_array([column.combine_chunks()], column.type)


def _floats(column: pa.ChunkedArray) -> Floats:
    """As float64; null as NaN."""
    chunks = [numeric_values(chunk).astype(np.float64, copy=False) for chunk in column.chunks]
    return chunks[0] if len(chunks) == 1 else np.concatenate([np.empty(0), *chunks])
