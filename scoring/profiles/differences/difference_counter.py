"""Comparing two models' predictions of a shard's rows, batch by batch, in a worker."""

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
        self._deltas = CodeCounts()

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
        if pairs is None or not len(pairs.deltas):
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

        with np.errstate(invalid="ignore", over="ignore"):
            deltas = scores[1] - scores[0]

        # One comparison of a whole batch, which is usual, in place of one for each row.
        if deltas.min() > -MOST_DELTA and deltas.max() < MOST_DELTA:
            return _Pairs(*scores, deltas, both.rows, both.places)

        is_finite = np.abs(deltas) < MOST_DELTA
        self._counts.n_not_compared += int(len(deltas) - is_finite.sum())
        return _Pairs(*scores, deltas, both.rows, both.places).choose(is_finite)

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
        counts.least = min(counts.least, float(pairs.deltas.min()))
        counts.greatest = max(counts.greatest, float(pairs.deltas.max()))

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
        of_champion = counts.champion_top.candidates(pairs.champion)
        of_challenger = counts.challenger_top.candidates(pairs.challenger)
        of_most = candidates_of_most(np.abs(pairs.deltas), counts.most)

        chosen = np.unique(np.concatenate([of_champion, of_challenger, of_most]))
        if not len(chosen):
            return

        keys = output.select(list(self._spec.keys)).take(from_numpy(pairs.places[chosen]))
        hashes = row_hashes(keys.columns)

        def hashes_of(places: Counts) -> Hashes:
            return hashes[np.searchsorted(chosen, places)]

        counts.champion_top = counts.champion_top.plus(
            pairs.champion[of_champion], hashes_of(of_champion)
        )
        counts.challenger_top = counts.challenger_top.plus(
            pairs.challenger[of_challenger], hashes_of(of_challenger)
        )

        if len(of_most):
            rows = keys.take(from_numpy(np.searchsorted(chosen, of_most)))
            new = _differing_rows(pairs, of_most, hashes_of(of_most), rows)
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

        hashes = positions.view(np.uint64) * GOLDEN
        chosen = np.flatnonzero(hashes < np.uint64(1 << (64 - n_bits)))

        return pairs.choose(chosen)

    def _keep_sample(self, sample: _Pairs, features: pa.Table, passthrough: pa.Table) -> None:
        """Keep rows to be counted by both scores and by group, until there are enough."""
        n_rows = len(sample.rows)
        if not n_rows:
            return

        wanted = None if n_rows == features.num_rows else from_numpy(sample.rows)
        columns: dict[str, pa.ChunkedArray] = {}
        for column in self._spec.columns:
            values = _column(column.name, features, passthrough)
            if values is not None:
                columns[column.name] = values if wanted is None else values.take(wanted)

        kept = _KeptSample(sample.champion, sample.challenger, columns)
        if self._kept and self._kept[0].columns.keys() != columns.keys():
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

        for column in self._spec.columns:
            counted = self._counts.groups[column.name]
            if counted is None or column.name not in kept[0].columns:
                continue

            codes = [column.codes(one.columns[column.name]) for one in kept]
            counted.add(np.concatenate(codes), compared)


@dataclass(frozen=True, slots=True)
class _KeptSample:
    """Sampled rows of a batch."""

    champion: Floats
    challenger: Floats
    columns: dict[str, pa.ChunkedArray]
    """What they are grouped by."""


def _decisions(champion: Floats, challenger: Floats, threshold: float) -> Counts:
    was, is_now = champion > threshold, challenger > threshold
    n_was, n_is = np.count_nonzero(was), np.count_nonzero(is_now)
    n_both = np.count_nonzero(was & is_now)
    n_neither = len(was) - n_was - n_is + n_both
    return np.array([[n_neither, n_is - n_both], [n_was - n_both, n_both]], np.int64)


def _differing_rows(
    pairs: _Pairs, places: Counts, hashes: Hashes, keys: pa.Table
) -> list[DifferingRow]:
    texts: list[list[str | None]] = []
    for column in keys.columns:
        texts.append(column.cast(pa.string()).to_pylist())

    scores = zip(pairs.champion[places].tolist(), pairs.challenger[places].tolist(), strict=True)
    rows = []
    for place, (one, other) in enumerate(scores):
        key = tuple(column[place] for column in texts)
        rows.append(DifferingRow(one, other, int(hashes[place]), key))
    return rows


def _column(name: str, features: pa.Table, passthrough: pa.Table) -> pa.ChunkedArray | None:
    for table in (features, passthrough):
        if name in table.column_names:
            return table.column(name)
    return None


def _floats(column: pa.ChunkedArray) -> Floats:
    """As float64; null as NaN."""
    chunks = [numeric_values(chunk).astype(np.float64, copy=False) for chunk in column.chunks]
    return chunks[0] if len(chunks) == 1 else np.concatenate([np.empty(0), *chunks])
