"""Sizes of row groups, packed: a partition may have a million of them."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, overload


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Sizes of one row group."""

    n_rows: int
    compressed: Mapping[str, int]
    """Bytes of each top-level column on the store."""
    uncompressed: Mapping[str, int]


class RowGroups(Sequence[RowGroup]):
    """The row groups of a file: a part of an array that many files share.

    Dictionaries would be 15 times as large, and an array for each file would leave memory in
    pieces.
    """

    __slots__ = ("_first", "_n_groups", "_numbers", "_places")

    def __init__(
        self, places: Mapping[str, int], n_groups: int, numbers: "array[int]", first: int
    ) -> None:
        """Take the file's numbers from the array.

        They are the rows of each row group, then the compressed and the uncompressed bytes of all
        its columns.

        Args:
            places: Top-level column to its place in a row group.
            n_groups: Row groups of the file.
            numbers: Of many files.
            first: Where those of this file begin.
        """
        self._places, self._n_groups, self._numbers, self._first = places, n_groups, numbers, first

    @classmethod
    def pack(cls, groups: Sequence[RowGroup]) -> Self:
        """These row groups, in an array of their own."""
        places: dict[str, int] = {}
        for group in groups:
            for name in group.compressed:
                places.setdefault(name, len(places))

        numbers = array("Q", [group.n_rows for group in groups])
        for group in groups:
            numbers.extend(group.compressed.get(name, 0) for name in places)
        for group in groups:
            numbers.extend(group.uncompressed.get(name, 0) for name in places)

        return cls(places, len(groups), numbers, 0)

    @property
    def rows(self) -> Sequence[int]:
        """Rows of each row group."""
        return self._numbers[self._first : self._first + self._n_groups]

    def compressed_bytes(self, names: Iterable[str]) -> list[int]:
        """Bytes of these columns in each row group; a column that the file lacks has none."""
        return self._sums(0, names)

    def uncompressed_bytes(self, names: Iterable[str]) -> list[int]:
        """The same, decompressed."""
        return self._sums(self._n_groups, names)

    def _sums(self, group: int, names: Iterable[str]) -> list[int]:
        """Sums over these columns for as many groups as the file has, from this one on."""
        places = self._places
        summed = [places[name] for name in names if name in places]

        numbers = self._numbers
        start = self._start(group)
        sums = []
        for _ in range(self._n_groups):
            sums.append(sum([numbers[start + place] for place in summed]))
            start += len(places)

        return sums

    def _start(self, group: int) -> int:
        """Where a row group's compressed sizes begin.

        Its uncompressed sizes are those of the group that is `n_groups` further.
        """
        return self._first + self._n_groups + group * len(self._places)

    def __len__(self) -> int:
        """Row groups of the file."""
        return self._n_groups

    @overload
    def __getitem__(self, index: int) -> RowGroup: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[RowGroup, ...]: ...
    def __getitem__(self, index: int | slice) -> RowGroup | tuple[RowGroup, ...]:
        """One row group, or several."""
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        group = range(self._n_groups)[index]
        return RowGroup(
            self._numbers[self._first + group],
            self._sizes_at(self._start(group)),
            self._sizes_at(self._start(self._n_groups + group)),
        )

    def _sizes_at(self, start: int) -> dict[str, int]:
        """Column to the number that stands for it, where a group's sizes begin at `start`."""
        return {name: self._numbers[start + place] for name, place in self._places.items()}
