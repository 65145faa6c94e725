"""Table, Markdown file and plot of what was measured."""

import json
from pathlib import Path

from tests.bench.engine.plot import draw
from tests.bench.engine.tables import as_markdown


def show(path: Path) -> None:
    """Print the tables, and write a Markdown file and a picture beside the JSON file."""
    result = json.loads(path.read_text())
    text = as_markdown(result)
    print(f"\n{text}")
    path.with_suffix(".md").write_text(text)
    draw(result, path.with_suffix(".png"))
