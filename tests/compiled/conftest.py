"""One folder of machine code for all tests of a session."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def machine_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")
