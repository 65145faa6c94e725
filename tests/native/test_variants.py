"""Each variant of the kernels gives the same bits."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nightscore.errors import InvalidJobError
from nightscore.native import variants
from nightscore.native.column_places import ColumnPlaces
from nightscore.native.count_buffers import CountBuffers
from nightscore.native.machine_code import CODE_FOLDER, Kernels, has_machine_code, load_kernels
from nightscore.native.search_trees import BinSearch
from nightscore.native.variants import (
    SETTING,
    VARIANTS,
    Processor,
    choose_variant,
    processor_of,
    runnable_variants,
    this_processor,
)

OTHERS = runnable_variants(this_processor())[1:]
"""What this processor runs besides the best."""
AVX512 = ("avx512f", "avx512bw", "avx512dq", "avx512vl")


def processor(*features: str) -> Processor:
    known = dict.fromkeys((*AVX512, "avx2", "popcnt", "sse2"), False)
    return Processor("any", known | dict.fromkeys(features, True))


def test_a_processor_runs_what_it_has_the_features_for() -> None:
    assert runnable_variants(processor("sse2")) == ("scalar",)
    assert runnable_variants(processor("sse2", "avx2", "popcnt")) == ("avx2", "scalar")
    assert runnable_variants(processor(*AVX512, "sse2", "avx2", "popcnt")) == VARIANTS
    assert runnable_variants(processor(*AVX512[1:], "sse2", "avx2", "popcnt")) == ("avx2", "scalar")
    assert runnable_variants(Processor("an ARM core", {"neon": True})) == ("scalar",)


def test_a_variant_is_compiled_without_later_features(monkeypatch: pytest.MonkeyPatch) -> None:
    host = processor(*AVX512, "avx2", "sse2")
    monkeypatch.setattr(variants, "this_processor", lambda: host)
    assert processor_of("avx512") == host
    assert processor_of("avx2").features == host.features | dict.fromkeys(AVX512, False)
    assert processor_of("scalar") == Processor("x86-64", {})


def test_the_setting_names_a_variant_that_this_host_can_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    assert choose_variant() == runnable_variants(this_processor())[0]
    monkeypatch.setenv(SETTING, "scalar")
    assert choose_variant() == "scalar"
    monkeypatch.setattr(variants, "this_processor", lambda: processor("sse2", "avx2", "popcnt"))
    for name in ("avx512", "fast"):
        monkeypatch.setenv(SETTING, name)
        with pytest.raises(InvalidJobError, match=rf"{SETTING}\n.*avx2, scalar.*\n.*{name}"):
            choose_variant()


def test_variants_have_machine_code_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTING, "scalar")
    load_kernels(tmp_path / CODE_FOLDER).expit(np.zeros(1), np.zeros(1))
    assert has_machine_code(tmp_path)
    monkeypatch.delenv(SETTING)
    assert not has_machine_code(tmp_path)
    best = Kernels(tmp_path)
    best.expit(np.zeros(1), np.zeros(1))
    Kernels(tmp_path, "scalar").expit(np.zeros(1), np.zeros(1))
    assert len(list(tmp_path.glob("expit_*.o"))) == 2


@pytest.mark.parametrize("variant", OTHERS)
def test_profiles_are_equal_on_each_variant(variant: Any, machine_code: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=3_000)
    values[rng.random(3_000) < 0.02] = np.nan
    values[::701] = np.inf
    validity = rng.integers(0, 256, 400).astype(np.uint8)

    def counted(kernels: Kernels) -> list[npt.NDArray[Any]]:
        found = []
        edges_of = {
            n_edges: np.sort(np.random.default_rng(n_edges).normal(size=n_edges))
            for n_edges in (0, 70, 100, 800)
        }
        edges_of[60] = np.linspace(-2.0, 1.9, 60)  # found by cells, the others in trees
        for n_edges, first_bit in ((0, -1), (70, 3), (100, 0), (800, 11), (60, -1), (60, 5)):
            buffers = CountBuffers(n_edges + 1, with_hashes=True)
            search = BinSearch(edges_of[n_edges])
            column = ColumnPlaces(1)
            column.put_values(0, values, validity, first_bit)
            limits = np.array([[0.5, -2.0, 2.0, search.origin, search.scale]])
            n_known = np.zeros(1, np.int64)
            kernels.count_columns(
                column.places, search.row[None], limits, n_known, *buffers.arguments
            )
            found += [buffers.rows, buffers.sums, buffers.rests, buffers.tallies, buffers.moments]
            found.append(np.sort(buffers.candidate_hashes(0)))
        return found

    for one, other in zip(
        counted(Kernels(machine_code)), counted(Kernels(machine_code, variant)), strict=True
    ):
        assert one.tobytes() == other.tobytes()
