"""A fixed seed's first cases, and every case that once did harm: refused, or scored as the library does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.cases import make_case, read_seeds
from tests.fuzz.runner import Child
from tests.fuzz.seeds import TARGETS, write_seeds

SEED = 14
N_CASES, ALL_CASES = 8, 25
"""Of each target, and in a thorough run; `make fuzz` takes 10,000."""
CORPUS = Path(__file__).with_name("corpus")
KEPT = sorted(str(path.relative_to(CORPUS)) for path in CORPUS.glob("*/*"))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("seeds")
    write_seeds(root)
    return root


@pytest.fixture(scope="module")
def child(seeds: Path) -> Iterator[Child]:
    """One for all cases, which have most of what they load in common."""
    with Child(seeds, TARGETS, SEED) as child:
        yield child


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_changed_inputs_are_refused_or_scored_as_the_library_does(
    target: str, child: Child, thorough: bool
) -> None:
    n_cases = ALL_CASES if thorough else N_CASES
    outcomes = {index: child.take(target, index) for index in range(n_cases)}
    assert {index: text for index, text in outcomes.items() if text.startswith("find")} == {}
    assert "refused" in outcomes.values()


@pytest.mark.slow
@pytest.mark.parametrize("name", KEPT)
def test_what_once_did_harm_does_none(name: str, child: Child) -> None:
    outcome = child.take(name.partition("/")[0], CORPUS / name)
    assert not outcome.startswith("find"), outcome


def test_a_number_is_the_same_case_each_time(tmp_path: Path) -> None:
    write_seeds(tmp_path, ("mlmodel", "onnx", "footers"))
    for target in ("mlmodel", "onnx", "footers"):
        given = read_seeds(tmp_path, target)
        cases = [[make_case(given, target, SEED, index) for index in range(20)] for _ in range(2)]
        assert cases[0] == cases[1]
        assert any(case.files != given[case.seed_name] for case in cases[0])
