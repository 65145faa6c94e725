"""`nightscore pages`."""

import sys
from typing import Annotated

import typer

from nightscore.cli.app import AsJson, CacheDir, model_cache
from nightscore.cli.show import err, print_json
from nightscore.inputs.job_lookup import listed_folders


def pages(
    port: Annotated[int, typer.Option(help="TCP port.")] = 4280,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. Reports show names of columns and their distributions."
        ),
    ] = "127.0.0.1",
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Serve the reports of all jobs over HTTP, from any store, until you press Ctrl-C.

    Links in Prefect lead to them.
    """
    # Other commands need not import this.
    from nightscore.operations.serve_reports import serve

    url = f"http://{host}:{port}"
    folders = listed_folders()
    shown = " and ".join(map(str, folders))

    if as_json:
        print_json({"url": url, "jobs": shown})
        sys.stdout.flush()

    err.print(f"Serving the reports of the jobs in {shown} at {url}")
    serve(folders, model_cache(cache_dir), host, port)
