"""`nightscore verify`."""

import dataclasses
from typing import Annotated

import typer

from nightscore.cli.app import (
    AsJson,
    CacheDir,
    Job,
    PartitionValue,
    known_partition,
    load,
    log_to,
    model_cache,
)
from nightscore.cli.show import out, print_json
from nightscore.engine.backends.local import WorkerPool
from nightscore.inputs.partitions import parse_value
from nightscore.operations.verify import Verification, verify


def verify_command(
    job: Job,
    partition: PartitionValue,
    sample: Annotated[
        int, typer.Option(min=1, help="Least number of rows to score again.")
    ] = 1_000,
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 0,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
) -> None:
    """Check a partition against its record: checksums, inputs, model, libraries, and a sample.

    The sample is scored again and compared, bit for bit.
    """
    log_to(False)
    spec, value = load(job), parse_value(partition)

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

    for finding in result.findings:
        out.print(f"  {finding.kind}: {finding.where}")
        out.print(f"    expected: {finding.expected}")
        out.print(f"    found:    {finding.found}")
