"""What `nightscore pages` says of the secret of MLflow's webhooks."""

import pytest

from nightscore.cli.commands.pages import VARIABLE, pages
from nightscore.errors import InvalidJobError


def test_a_secret_that_is_too_short_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "hunter2")
    with pytest.raises(InvalidJobError) as refused:
        pages(4280, "127.0.0.1", False, None)

    assert refused.value.found == "7 characters"
    assert "hunter2" not in f"{refused.value}{capsys.readouterr()}"
