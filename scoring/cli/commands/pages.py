"""`nightscore pages`."""

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from nightscore.cli.resolve import model_cache
from nightscore.cli.show import err, print_json
from nightscore.errors import InvalidJobError
from nightscore.inputs.job_lookup import lookup_folders, show_folders
from nightscore.operations.serve_reports import serve
from nightscore.operations.webhooks.notices import Notice
from nightscore.operations.webhooks.route import PATH

VARIABLE = "NIGHTSCORE_WEBHOOK_SECRET"
MIN_SECRET = 16
"""Characters. A shorter secret could be guessed from one delivery."""


def pages(port: int, host: str, as_json: bool, cache_dir: Path | None) -> None:
    """Serve the reports until the process is interrupted."""
    secret = _webhook_secret()
    url = f"http://{host}:{port}"
    folders = lookup_folders()
    shown = show_folders(folders)

    if as_json:
        webhooks = f"{url}{PATH}" if secret else None
        print_json({"url": url, "jobs": shown, "webhooks": webhooks})
        sys.stdout.flush()

    err.print(f"Serving the reports of the jobs in {shown} at {url}")
    if secret:
        err.print(f"Receiving the webhooks of MLflow's registry at {url}{PATH}")

    serve(folders, model_cache(cache_dir), host, port, secret, _tell)


def _webhook_secret() -> str:
    """The secret of MLflow's webhooks; empty: they are off.

    Raises:
        InvalidJobError: It is too short. The message does not repeat it.
    """
    secret = os.environ.get(VARIABLE, "")

    if 0 < len(secret) < MIN_SECRET:
        raise InvalidJobError(
            "The secret of MLflow's webhooks is too short; nothing was started.",
            f"environment variable {VARIABLE}",
            expected=f"at least {MIN_SECRET} characters",
            found=f"{len(secret)} characters",
            next_step="set a random one, for example of `openssl rand -hex 32`, and give it to "
            "MLflow's webhook, too",
        )

    return secret


def _tell(notices: Sequence[Notice]) -> None:
    """Print what has happened, and emit it as events where Prefect is."""
    for notice in notices:
        for line in notice.lines:
            err.print(line)

    if importlib.util.find_spec("prefect") is None:
        return

    from nightscore.flows.release_events import emit_release_events

    emit_release_events(notices)
