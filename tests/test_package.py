"""What is shipped: a wheel that works anywhere, imports that point one way, files that name no machine."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOP = {
    *("pyproject.toml", "flows", "scoring", "schemas", "tests", "deploy", "Makefile"),
    *("README.md", "LICENSE", "CHANGELOG.md"),
}


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_wheel_installs_and_its_command_works_outside_the_checkout(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(ROOT)], check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("nightscore-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "schemas/job.schema.json" in names
    modules = [name for name in tracked() if re.fullmatch(r"(schemas|scoring|flows)/.*\.py", name)]
    assert not set(modules) - set(names), "modules that the wheel lacks"
    assert not [name for name in names if name.startswith(("tests/", "deploy/"))]
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True, cwd=tmp_path)
    environment = os.environ | {"PYTHONPATH": str(target)}
    where = subprocess.run(
        [sys.executable, "-P", "-c", "import scoring, schemas, flows; print(scoring.__file__)"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(target))
    command = subprocess.run(
        [str(target / "bin" / "nightscore"), "--help"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Offline batch scoring" in command.stdout


def test_imports_point_one_way() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_top_level_is_as_agreed() -> None:
    names = {path.split("/")[0] for path in tracked()}
    assert {name for name in names if not name.startswith(".")} == TOP


def test_no_file_names_a_machine_or_a_package_registry() -> None:
    registry = re.compile(r"https?://[^\s\"']*(pypi|pythonhosted|artifactory|nexus)|--(extra-)?index-url")
    for path in tracked():
        content = (ROOT / path).read_bytes()
        assert len(content) < 1 << 20, path
        text = content.decode(errors="replace")
        assert not registry.search(text) or path == "tests/test_package.py", path
        assert str(ROOT) + "/" not in text, path


def test_the_readmes_test_command_is_what_ci_runs() -> None:
    assert "make test" in (ROOT / "README.md").read_text()
    assert "make test" in (ROOT / ".ci" / "run").read_text()
