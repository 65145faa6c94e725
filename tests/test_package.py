"""What is shipped: a wheel that works anywhere, imports that point one way, files that name no machine."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import grimp
import pytest
from mypy.modulefinder import FindModuleCache, SearchPaths

ROOT = Path(__file__).parent.parent
TOP = {
    *("pyproject.toml", "flows", "scoring", "schemas", "tests", "deploy", "Makefile"),
    *("README.md", "LICENSE", "CHANGELOG.md"),
}


ABOUT_THE_IMAGE = ("deploy/Dockerfile", "deploy/compose.yaml", "deploy/image/")
"""What builds and runs the image, from a checkout. The wheel does not have it."""


def tracked() -> list[str]:
    done = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return done.stdout.splitlines()


def modules() -> list[str]:
    """Paths of the project's modules in the wheel."""
    names = {
        "scoring/": "nightscore/",
        "flows/": "nightscore/flows/",
        "schemas/": "nightscore/schemas/",
        "deploy/": "nightscore/deploy/",
    }
    return sorted(
        new + path.removeprefix(old)
        for path in tracked()
        for old, new in names.items()
        if path.startswith(old) and path.endswith(".py")
        if not path.startswith(ABOUT_THE_IMAGE)
    )


@pytest.mark.slow
def test_the_wheel_works_beside_modules_of_the_users_own(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    # What an earlier build has left in `build/` would be packed too, under names since changed.
    settings = tmp_path / "build.cfg"
    settings.write_text(f"[build]\nbuild_base = {tmp_path / 'build'}\n")
    subprocess.run(
        [*build, "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
        cwd=tmp_path,
        env=os.environ | {"DIST_EXTRA_CONFIG": str(settings)},
    )
    (wheel,) = tmp_path.glob("nightscore-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "nightscore/schemas/job.schema.json" in names
    shipped = {path for path in tracked() if path.startswith("deploy/")}
    left_out = {path for path in shipped if path.startswith(("deploy/pictures/", *ABOUT_THE_IMAGE))}
    assert {f"nightscore/{path}" for path in shipped - left_out} <= {*names}
    assert not {f"nightscore/{path}" for path in left_out} & {*names}
    assert sorted(name for name in names if name.endswith(".py")) == modules()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"nightscore"}

    target, home = tmp_path / "site", tmp_path / "home"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
    ]
    subprocess.run([*install, str(wheel)], check=True, cwd=tmp_path)
    (home / "flows").mkdir(parents=True)
    for own in ("schemas.py", "scoring.py", "flows/__init__.py"):
        (home / own).write_text("OWN = True\n")

    def ran(*command: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(target)}
        done = subprocess.run(
            command, env=environment, cwd=home, capture_output=True, text=True, check=True
        )
        return done.stdout

    code = """
import flows, schemas, scoring
import nightscore.runs.run, nightscore.flows.nightly, nightscore.schemas.job

assert flows.OWN and schemas.OWN and scoring.OWN
print(nightscore.flows.nightly.__file__)
"""
    assert ran(sys.executable, "-c", code).startswith(str(target))
    command = str(target / "bin" / "nightscore")
    assert "Offline batch scoring" in ran(command, "--help")
    assert ran(command, "status") == "Nothing is running.\n"
    assert ran(command, "down") == "Nothing is running.\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("scoring", "nightscore"),
        ("flows", "nightscore.flows"),
        ("schemas", "nightscore.schemas"),
        ("deploy", "nightscore.deploy"),
    ],
)
def test_an_old_import_name_gives_the_new_one(old: str, new: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {old}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"import name is {new}, not {old}" in done.stderr


def test_the_linters_see_each_module_once() -> None:
    cache = FindModuleCache(SearchPaths((str(ROOT / ".src"),), (), (), ()), None, None)
    seen = [
        Path(source.path).relative_to(ROOT / ".src")
        for source in cache.find_modules_recursive("nightscore")
    ]
    assert sorted(map(str, seen)) == modules()
    graph = grimp.build_graph("nightscore", cache_dir=None)
    packages = [
        name.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
        for name in modules()
    ]
    assert sorted(graph.modules) == sorted(packages)


def test_imports_point_one_way() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_top_level_is_as_agreed() -> None:
    names = {path.split("/")[0] for path in tracked()}
    assert {name for name in names if not name.startswith(".")} == TOP


def test_no_file_names_a_machine_or_a_package_registry() -> None:
    registry = re.compile(
        r"https?://[^\s\"']*(pypi|pythonhosted|artifactory|nexus)|--(extra-)?index-url"
    )
    for path in tracked():
        if (ROOT / path).is_dir():  # a link
            continue
        content = (ROOT / path).read_bytes()
        assert len(content) < 1 << 20, path
        text = content.decode(errors="replace")
        assert not registry.search(text) or path == "tests/test_package.py", path
        assert str(ROOT) + "/" not in text, path


def test_the_readmes_test_command_is_what_ci_runs() -> None:
    assert "make test" in (ROOT / "README.md").read_text()
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_package_ships_the_files_of_deploy() -> None:
    from nightscore.deploy import AUTOMATIONS, CONSTRAINTS, RUNBOOK

    assert {path.suffix for path in AUTOMATIONS.iterdir()} == {".yaml"}
    assert "mlflow==" in CONSTRAINTS.read_text()
    assert "### StackError" in RUNBOOK.read_text()
