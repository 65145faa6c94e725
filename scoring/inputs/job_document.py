"""The keys and values of a job file as they are written, before anything is checked.

Pydantic is not imported here: who only wants to know where a job publishes has the answer at once.
"""

import codecs
from typing import Any

from nightscore.storage.documents import read_json, read_yaml

MAX_BYTES = 1 << 20


def is_json(path: str) -> bool:
    """Whether the file is read as JSON, by its name."""
    return path.lower().endswith(".json")


def read_document(path: str, content: bytes) -> Any:
    """The data in a job file. Short forms and references stay as they are.

    Raises:
        DocumentError: It is no YAML or JSON, or exceeds the bounds.
    """
    if is_json(path):
        return read_json(content.removeprefix(codecs.BOM_UTF8), MAX_BYTES, has_unique_keys=True)
    return read_yaml(content, MAX_BYTES, has_text_keys=True)
