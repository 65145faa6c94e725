"""`nightscore verify`."""

import dataclasses
from pathlib import Path

import typer

from nightscore.cli.resolve import known_partition, load_any, log_to, model_cache, read_value
from nightscore.cli.show import out, print_json
from nightscore.engine.backends.local import WorkerPool
from nightscore.operations.verify import Verification, verify


def verify_command(
    job: str, partition: str, sample: int, seed: int, as_json: bool, cache_dir: Path | None
) -> None:
    """Print whether a partition is as recorded."""
    log_to(False)
    spec = load_any(job)
    value = read_value(spec, partition)

    with WorkerPool() as pool, known_partition(spec, value, "verify"):
        result = verify(spec, value, pool, model_cache(cache_dir), sample, seed)

    if as_json:
        print_json({"is_sound": result.is_sound, **dataclasses.asdict(result)})
    else:
        _print_result(result)

    raise typer.Exit(int(not result.is_sound))


def _print_result(result: Verification) -> None:
    verdict = "sound"
    if not result.is_sound:
        verdict = "not as recorded"

    out.print(f"{result.partition}: {verdict}: run {result.run_id}")
    out.print(
        f"  checksums compared: {result.n_files:,}; "
        f"rows scored again and compared: {result.n_rows:,}"
    )

    if result.note:
        out.print(f"  {result.note}")

    for finding in result.findings:
        out.print(f"  {finding.kind}: {finding.where}")
        out.print(f"    expected: {finding.expected}")
        out.print(f"    found:    {finding.found}")
