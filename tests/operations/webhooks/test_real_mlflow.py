"""A real MLflow server delivers a webhook to the pages."""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightscore.flows.stack.settings import free_ports
from tests.operations.webhooks.conftest import SECRET, Receiver, receiving
from tests.support.lake import Lake

SETTINGS = {"MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true"}
"""Without them MLflow delivers to public addresses over HTTPS alone."""
START_S = 120

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def mlflow_server(empty_registry: Path, tmp_path: Path) -> Iterator[str]:
    database = tmp_path / "mlflow.db"
    shutil.copyfile(empty_registry, database)
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = (sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port))
    store = ("--backend-store-uri", f"sqlite:///{database}")
    own = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **SETTINGS}

    with (
        (tmp_path / "mlflow.log").open("w") as log,
        subprocess.Popen(
            [*command, *store], env=os.environ | own, stdout=log, stderr=log
        ) as server,
    ):
        deadline = time.monotonic() + START_S
        while not is_up(url):
            assert server.poll() is None, "see mlflow.log"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield url
        server.terminate()


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5):
            return True
    except OSError:
        return False


def test_mlflow_itself_delivers_that_an_alias_has_moved(
    mlflow_server: str, lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    for name, value in SETTINGS.items():  # the client checks the address, too
        monkeypatch.setenv(name, value)
    client = mlflow.MlflowClient(tracking_uri=mlflow_server, registry_uri=mlflow_server)
    client.create_registered_model("delay")
    client.create_model_version("delay", "s3://bucket/model")
    text = (folder / "late.yaml").read_text()
    (folder / "late.yaml").write_text(text.replace(lake.registry, mlflow_server))

    with receiving(folder, lake) as receiver:
        webhook = client.create_webhook(
            "nightscore", receiver.url, ["model_version_alias.created"], secret=SECRET
        )
        client.set_registered_model_alias("delay", "champion", "1")
        assert receiver.arrived.wait(60)
        assert told(receiver) == [("late", "1", "champion"), ("later", "1", "champion")]
        notice = receiver.notices[0]
        assert [part.name for part in notice.missing] == ["pin", "baseline"]

        trial = client.test_webhook(webhook.webhook_id)
        assert (trial.success, trial.response_status) == (True, 200)
        assert trial.response_body == "Received. It concerns no job.\n"

        client.update_webhook(webhook.webhook_id, secret="a secret that nobody else has")
        refused = client.test_webhook(webhook.webhook_id)
        assert (refused.success, refused.response_status) == (False, 401)
        assert len(receiver.notices) == 2


def told(receiver: Receiver) -> list[tuple[str, str, str]]:
    return [(notice.source, notice.event.version, notice.role) for notice in receiver.notices]
