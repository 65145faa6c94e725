"""Caches of compiled forms and of machine code are valid for the code that made them."""

import shutil
from pathlib import Path

import pytest

from nightscore.models.compiled import form_cache
from nightscore.models.compiled.form_cache import CachedForm
from nightscore.native import machine_code
from nightscore.native.machine_code import has_machine_code, load_kernels
from nightscore.native.sources import source_digest
from nightscore.schemas.model import ModelFacts

PACKAGE = Path(machine_code.__file__).parents[1]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the code of forms and of kernels."""
    copy = tmp_path / "nightscore"
    for name in ("models", "native"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGE / name, copy / name, ignore=ignored)
    return copy


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def test_a_copy_of_the_sources_has_the_same_digests(package: Path) -> None:
    assert form_cache.engine_digest(package) == form_cache.engine_digest()
    assert machine_code.build_digest(package / "native") == machine_code.build_digest()


def test_any_changed_source_changes_the_digest_of_forms(package: Path) -> None:
    digests = {form_cache.engine_digest()}
    files = sources(package)
    for path in files:
        path.write_bytes(path.read_bytes() + b"\n")
        form_cache.engine_digest.cache_clear()
        digests.add(form_cache.engine_digest(package))

    form_cache.engine_digest.cache_clear()
    names = {path.relative_to(package).as_posix() for path in files}
    assert {"native/kernels.py", "native/constants.py", "models/compiled/layout.py"} <= names
    assert len(digests) == len(files) + 1


def test_any_changed_source_changes_the_digest_of_machine_code(package: Path) -> None:
    native = package / "native"
    digests = {machine_code.build_digest()}
    for path in sources(native):
        path.write_bytes(path.read_bytes() + b"\n")
        machine_code.build_digest.cache_clear()
        digests.add(machine_code.build_digest(native))

    machine_code.build_digest.cache_clear()
    assert len(digests) == len(sources(native)) + 1


def test_a_new_a_renamed_and_a_removed_source_change_the_digest(tmp_path: Path) -> None:
    folder = tmp_path / "native"
    folder.mkdir()
    (folder / "a.py").write_text("x = 1")
    digests = [source_digest(folder)]
    (folder / "b.py").touch()
    digests.append(source_digest(folder))
    (folder / "b.py").rename(folder / "c.py")
    digests.append(source_digest(folder))
    (folder / "c.py").unlink()
    (folder / "notes.txt").touch()
    assert source_digest(folder) == digests[0]
    (folder / "a.py").unlink()
    digests.append(source_digest(folder))

    assert len(set(digests)) == len(digests)


@pytest.mark.slow
def test_what_another_version_of_the_code_has_cached_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    folder = cache / "digest"
    folder.mkdir(parents=True, mode=0o700)
    facts = ModelFacts(flavor="sklearn", estimator="Ridge", n_features=1)
    with monkeypatch.context() as patch:
        patch.setattr(form_cache, "engine_digest", lambda: "of another version")
        patch.setattr(machine_code, "build_digest", lambda: "another")
        before = CachedForm.for_model(folder, facts)
        before.stem.parent.mkdir(mode=0o700)
        before.stem.with_name(before.stem.name + ".flat").write_bytes(b"no form of today")
        (cache / machine_code.CODE_FOLDER / "another").mkdir(parents=True, mode=0o700)
        (cache / machine_code.CODE_FOLDER / "another" / "expit_0.o").write_bytes(b"no code")
        assert before.n_bytes > 0
        assert has_machine_code(cache)

    form = CachedForm.for_model(folder, facts)

    assert (form.n_bytes, form.read(), form.checked, form.differs) == (0, None, None, "")
    assert not has_machine_code(cache)
    load_kernels(cache / machine_code.CODE_FOLDER)
    assert has_machine_code(cache)
    assert capfd.readouterr() == ("", "")
