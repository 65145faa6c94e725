"""Serves reports over HTTP, from any store, so that links in other pages open them."""

import html
import logging
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from nightscore.errors import PartitionNotFoundError, ScoringError
from nightscore.inputs.job_lookup import list_jobs, show_folders
from nightscore.inputs.jobfile import load_job
from nightscore.inputs.partitions import parse_value
from nightscore.ledger.comparison_records import with_newest_comparisons
from nightscore.ledger.timeline import latest_publications, recorded_values
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.monitoring.drift.wording import verdict_text
from nightscore.operations.compare_page import read_compare_page
from nightscore.operations.compare_versions import Selection, compare_versions
from nightscore.operations.performance import estimate_performance, recorded_between
from nightscore.operations.performance_page import read_performance_page
from nightscore.operations.report import newest_report, read_report, reported_run
from nightscore.operations.webhooks.route import React, WebhookRoute
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import show_value

logger = logging.getLogger("nightscore")

MAX_LISTED = 60
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
SHELL = (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width">'
    '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
    "<title>{title}</title><style>body{{font:16px/1.6 system-ui,sans-serif;max-width:50rem;"
    "margin:1rem auto;padding:0 1rem}}</style>"
    "<h1>{title}</h1>{body}</html>"
)


def report_pages(
    folders: Sequence[Path], cache: ModelCache, webhooks: WebhookRoute | None = None
) -> Starlette:
    """The web application. It writes nothing except pages and comparisons that it computes again.

    Args:
        folders: Folders of job files; other jobs are not served.
        cache: Models and baselines of this host.
        webhooks: Receives those of MLflow's registry. None: nobody does.
    """
    pages = _Pages(folders, cache)

    routes = [
        Route("/", _explained(pages.index)),
        Route("/{job}", _explained(pages.partitions)),
        Route("/{job}/", _explained(pages.partitions)),
        Route("/{job}/-/performance", _explained(pages.performance)),
        Route("/{job}/-/compare", _explained(pages.compare)),
        Route("/{job}/{rest:path}", _explained(pages.report)),
    ]

    if webhooks is not None:
        routes.insert(0, webhooks.route)

    return Starlette(routes=routes)


class _Pages:
    """The pages: all jobs, the partitions of one, its performance over time, and one report."""

    def __init__(self, folders: Sequence[Path], cache: ModelCache) -> None:
        self._folders = folders
        self._cache = cache

    def index(self, _: Request) -> HTMLResponse:
        """All jobs."""
        items = [_job_item(name) for name in list_jobs(self._folders)]
        shown = show_folders(self._folders)
        return _page("Jobs", _list(items, f"There are no job files in {shown}."))

    def partitions(self, request: Request) -> HTMLResponse:
        """The newest partitions of a job that have a report."""
        name = request.path_params["job"]
        job = self._find_job(request)
        workspace = Workspace(job)
        values = reversed(recorded_values(workspace))
        latest = islice(latest_publications(workspace, values), MAX_LISTED)

        items: list[str] = []
        is_estimated = job.labels is not None
        for manifest in with_newest_comparisons(workspace.state, latest):
            is_estimated = is_estimated or manifest.estimate is not None
            if manifest.drift is not None:
                shown = show_value(manifest.partition)
                text = f"{html.escape(shown)}: {html.escape(verdict_text(manifest.drift))}"
                items.append(_item(f"{quote(name)}/{quote(shown, safe='')}", text))

        body = _list(items, "No partition has a report yet.")
        if is_estimated:
            address = f"/{quote(name)}/-/performance"
            body = f'<p><a href="{address}">Performance over time</a></p>{body}'
        if job.release is not None and job.release.challenger:
            body = _challenger_links(name, list(job.release.labels)) + body
        return _page(f"Reports of {name}", body)

    def performance(self, request: Request) -> HTMLResponse:
        """What was estimated of the newest partitions of a job, and what came true."""
        job = self._find_job(request)
        values = recorded_between(job, None, None, MAX_LISTED)
        found = estimate_performance(job, values, self._cache)
        return HTMLResponse(read_performance_page(job, found), headers=HEADERS)

    def compare(self, request: Request) -> HTMLResponse:
        """How the challengers of a job differ from its own model, over the newest partitions."""
        job = self._find_job(request)
        found = compare_versions(job, None, Selection(n_latest=MAX_LISTED))
        return HTMLResponse(read_compare_page(job, found), headers=HEADERS)

    def report(self, request: Request) -> HTMLResponse:
        """The report of a partition's newest run, or of one run."""
        job = self._find_job(request)

        # The raw path: a partition's value may contain slashes of its own.
        raw_path = request.scope["raw_path"].decode("ascii", "replace").split("?")[0]
        _, _, *parts = raw_path.split("/")
        if len(parts) > 2:
            raise HTTPException(404, "Expected /JOB/PARTITION or /JOB/PARTITION/RUN")

        value = parse_value(unquote(parts[0]))
        run_id = unquote(parts[1]) if len(parts) == 2 else None
        manifest = newest_report(job, reported_run(job, value, run_id), self._cache)

        return HTMLResponse(read_report(job, manifest, self._cache), headers=HEADERS)

    def _find_job(self, request: Request) -> ScoringJob:
        """The job of an address, or one of its challengers: JOB@LABEL."""
        name = request.path_params["job"]
        champion, _, label = name.partition("@")

        known = list_jobs(self._folders)
        if champion not in known:
            names = ", ".join(known) or "none"
            raise HTTPException(404, f"There is no job {champion}. Known jobs: {names}")

        jobs = challenger_jobs(load_job(champion, self._folders))
        if label and label not in jobs:
            labels = ", ".join(jobs) or "none"
            raise HTTPException(404, f"{champion} has no challenger {label}, but: {labels}")

        return load_job(name, self._folders)


def serve(
    folders: Sequence[Path], cache: ModelCache, host: str, port: int, secret: str, react: React
) -> None:
    """Serve until the process is interrupted. MLflow's webhooks are refused without a secret."""
    import uvicorn

    webhooks = WebhookRoute(secret, folders, react)
    application = report_pages(folders, cache, webhooks)
    uvicorn.run(application, host=host, port=port, log_level="warning")


def _explained(show: Callable[[Request], HTMLResponse]) -> Callable[[Request], HTMLResponse]:
    """A page that explains its errors instead of failing."""

    def answer(request: Request) -> HTMLResponse:
        try:
            return show(request)
        except HTTPException as error:
            return _page("Not found", f"<p>{html.escape(error.detail)}</p>", error.status_code)
        except PartitionNotFoundError as error:
            return _page("Not found", f"<pre>{html.escape(str(error))}</pre>", 404)
        except ScoringError as error:
            return _page("The report cannot be shown", f"<pre>{html.escape(str(error))}</pre>", 503)
        except Exception as error:
            logger.exception("a report could not be shown")
            body = f"<pre>{html.escape(type(error).__name__)}</pre>"
            return _page("The report cannot be shown", body, 503)

    return answer


def _page(title: str, body: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(SHELL.format(title=html.escape(title), body=body), status, HEADERS)


def _item(path: str, text: str) -> str:
    return f'<li><a href="/{path}">{text}</a></li>'


def _job_item(name: str) -> str:
    """A job, and beside it its performance over time."""
    address = f"/{quote(name)}"
    return (
        f'<li><a href="{address}">{html.escape(name)}</a> · '
        f'<a href="{address}/-/performance">performance over time</a></li>'
    )


def _challenger_links(name: str, labels: Sequence[str]) -> str:
    """What compares a job with its challengers, and the reports of each."""
    links = [f'<a href="/{quote(name)}/-/compare">Challengers</a>']
    for label in labels:
        own = f"{name}@{label}"
        links.append(f'<a href="/{quote(own)}">reports of {html.escape(own)}</a>')
    return f"<p>{' · '.join(links)}</p>"


def _list(items: list[str], otherwise: str) -> str:
    return f"<ul>{''.join(items)}</ul>" if items else f"<p>{html.escape(otherwise)}</p>"
