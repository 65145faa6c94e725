"""`nightscore check`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from nightscore.cli.resolve import log_to, model_cache
from nightscore.cli.show import counted, out, print_json, print_table
from nightscore.operations.check import PREFECT, check_job
from nightscore.operations.checklist import Check


def check(
    job: str,
    partition: str | None,
    timeout_s: float,
    as_json: bool,
    cache_dir: Path | None,
    verbose: bool,
) -> None:
    """Print what was looked at, and what is wrong with it."""
    log_to(verbose)
    prefect_url = os.environ.get("PREFECT_API_URL", "")
    checks = check_job(job, model_cache(cache_dir), partition, prefect_url, patience_s=timeout_s)

    if as_json:
        print_json(_document(job, checks))
    else:
        _print_checks(job, checks)

    # A run would end with its first error.
    codes = [check.error.exit_code for check in _failed(checks) if check.error is not None]
    if codes:
        raise typer.Exit(codes[0])


def _failed(checks: Sequence[Check]) -> list[Check]:
    return [check for check in checks if check.state == "failed"]


def _document(job: str, checks: Sequence[Check]) -> dict[str, Any]:
    return {
        "job": job,
        "ok": not _failed(checks),
        "seconds": round(sum(check.seconds for check in checks), 3),
        "checks": [
            {
                "name": check.name,
                "state": check.state,
                "found": check.found,
                "seconds": round(check.seconds, 3),
                "warnings": check.warnings,
                "error": _error_document(check),
            }
            for check in checks
        ],
    }


def _error_document(check: Check) -> dict[str, Any] | None:
    error = check.error
    if error is None:
        return None

    return {
        "type": type(error).__name__,
        "same_as": check.same_as,
        "what": error.what,
        "where": error.where,
        "expected": error.expected,
        "found": error.found,
        "problems": error.problems,
        "next": error.next_step,
    }


def _print_checks(job: str, checks: Sequence[Check]) -> None:
    rows = []
    for check in checks:
        seconds = "" if check.state == "skipped" else f"{check.seconds:.2f}"
        rows.append(
            {"check": check.name, "result": check.state, "seconds": seconds, "found": check.found}
        )
    print_table(job, tuple(rows[0]), rows)

    for check in checks:
        for warning in check.warnings:
            out.print("")
            out.print_lines(f"{check.name}: warning: {warning}")

    failed = _failed(checks)
    for check in failed:
        if check.error is not None and not check.same_as:
            out.print("")
            out.print_lines(f"{check.name}: {check.error}")

    seconds = f"{sum(check.seconds for check in checks):.1f} s"
    out.print("")
    out.print(f"{_verdict(failed)} Checked in {seconds}; nothing was changed.")


def _verdict(failed: Sequence[Check]) -> str:
    if not failed:
        return "A run can publish."
    if all(check.name == PREFECT for check in failed):
        return "A run can publish from here, but not through Prefect."
    return f"A run cannot publish: {counted(len(failed), 'check')} failed."
