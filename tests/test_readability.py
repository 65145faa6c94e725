"""The code stays easy to read: what linters do not measure, on the syntax trees of all modules."""

import ast
import functools
import graphlib
import statistics
from collections import Counter
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
FOLDERS = ("scoring", "flows", "schemas")

MAX_CONDITIONAL_EXPRESSIONS = 12
"""Per 1,000 lines. A statement with `if` and `else` reads from top to bottom."""
MAX_COMPREHENSIONS = 25
"""Per 1,000 lines of each package."""
MIN_BLANK_LINES = 3.0
"""In functions of 15 lines and more, on average: their paragraphs."""
MAX_TOP_ENTRIES = 16
"""Modules and packages that somebody sees who opens `scoring/`."""

WHOLE_TREE = "the whole tree"
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@functools.cache
def modules() -> list[tuple[Path, ast.Module, list[str]]]:
    """Each module once: `scoring/flows` and `scoring/schemas` are links."""
    parsed = []

    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not any(parent.is_symlink() for parent in path.parents):
                text = path.read_text()
                parsed.append((path.relative_to(ROOT), ast.parse(text), text.splitlines()))

    return parsed


def package_of(path: Path) -> str:
    """A folder, or a folder directly below it: `flows`, `scoring/profiles`."""
    return "/".join(path.parent.parts[:2])


def per_thousand_lines(kinds: type[ast.AST] | tuple[type[ast.AST], ...]) -> dict[str, float]:
    """How often such nodes occur in each package, and in the whole tree."""
    n_nodes: Counter[str] = Counter()
    n_lines: Counter[str] = Counter()

    for path, tree, lines in modules():
        n_in_module = sum(isinstance(node, kinds) for node in ast.walk(tree))
        for name in (package_of(path), WHOLE_TREE):
            n_nodes[name] += n_in_module
            n_lines[name] += len(lines)

    return {name: 1000 * n_nodes[name] / n_lines[name] for name in n_lines}


def blank_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    """Blank lines of the function's body, without those of its docstring."""
    start = function.lineno
    if ast.get_docstring(function) is not None:
        start = function.body[0].end_lineno or start

    return sum(not line.strip() for line in lines[start : function.end_lineno])


def test_conditional_expressions_are_rare() -> None:
    assert per_thousand_lines(ast.IfExp)[WHOLE_TREE] <= MAX_CONDITIONAL_EXPRESSIONS


def test_comprehensions_are_rare_in_every_package() -> None:
    rates = per_thousand_lines(COMPREHENSIONS)

    assert len(rates) > len(FOLDERS)
    assert {name: rate for name, rate in rates.items() if rate > MAX_COMPREHENSIONS} == {}


def test_no_conditional_expression_is_inside_another() -> None:
    nested = [
        f"{path}:{node.lineno}"
        for path, tree, _ in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.IfExp)
        and any(isinstance(inner, ast.IfExp) for inner in ast.walk(node) if inner is not node)
    ]

    assert nested == []


def test_long_functions_have_paragraphs() -> None:
    counts = [
        blank_lines(node, lines)
        for _, tree, lines in modules()
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS) and (node.end_lineno or 0) - node.lineno >= 14
    ]

    assert statistics.mean(counts) >= MIN_BLANK_LINES


def test_no_module_imports_itself_through_others() -> None:
    graph = grimp.build_graph("nightscore")
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}

    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def test_the_top_of_scoring_is_a_handful_of_packages() -> None:
    entries = {
        path.name
        for path in (ROOT / "scoring").iterdir()
        if not path.is_symlink()
        and path.name not in ("__init__.py", "__pycache__")
        and (path.suffix == ".py" or any(path.glob("*.py")))
    }

    assert len(entries) <= MAX_TOP_ENTRIES, sorted(entries)
