"""`nightscore approve`."""

from pathlib import Path

from nightscore.cli.decision import check_subject, decide
from nightscore.cli.records import print_record
from nightscore.cli.resolve import load, model_cache
from nightscore.operations.approve import approve as publish_held
from nightscore.process import user_and_host


def approve(
    job: str,
    partition: str | None,
    release: str | None,
    run_id: str | None,
    note: str,
    as_json: bool,
    cache_dir: Path | None,
) -> None:
    """Publish a held run, or make a proposed version live, and print its record."""
    check_subject("approve", job, partition, release, run_id)

    if release is not None:
        _approve_release(job, release, note, cache_dir, as_json=as_json)
        return

    assert partition is not None  # noqa: S101
    manifest, spec = decide("approve", publish_held, job, partition, run_id, note)
    print_record(manifest, spec, as_json=as_json)


def _approve_release(
    job: str, version: str, note: str, cache_dir: Path | None, *, as_json: bool
) -> None:
    from nightscore.cli.release_documents import result_document
    from nightscore.cli.release_text import print_result
    from nightscore.cli.show import print_json
    from nightscore.operations.releases.approval import approve_release

    spec, by = load(job), user_and_host()

    result = approve_release(spec, version, by=by, note=note, cache=model_cache(cache_dir))

    if as_json:
        print_json(result_document(result))
    else:
        print_result(spec, result)
