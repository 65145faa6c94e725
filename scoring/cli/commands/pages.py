"""`nightscore pages`."""

import sys
from pathlib import Path

from nightscore.cli.resolve import model_cache
from nightscore.cli.show import err, print_json
from nightscore.inputs.job_lookup import lookup_folders, show_folders
from nightscore.operations.serve_reports import serve


def pages(port: int, host: str, as_json: bool, cache_dir: Path | None) -> None:
    """Serve the reports until the process is interrupted."""
    url = f"http://{host}:{port}"
    folders = lookup_folders()
    shown = show_folders(folders)

    if as_json:
        print_json({"url": url, "jobs": shown})
        sys.stdout.flush()

    err.print(f"Serving the reports of the jobs in {shown} at {url}")
    serve(folders, model_cache(cache_dir), host, port)
