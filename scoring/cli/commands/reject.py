"""`nightscore reject`."""

from nightscore.cli.decision import check_subject, decide
from nightscore.cli.records import print_record
from nightscore.cli.resolve import load
from nightscore.operations.reject import reject as drop_held
from nightscore.process import user_and_host


def reject(
    job: str,
    partition: str | None,
    release: str | None,
    run_id: str | None,
    note: str,
    as_json: bool,
) -> None:
    """Drop a held run, or a proposed version, and print its record."""
    check_subject("reject", job, partition, release, run_id)

    if release is not None:
        _reject_release(job, release, note, as_json=as_json)
        return

    assert partition is not None  # noqa: S101
    manifest, spec = decide("reject", drop_held, job, partition, run_id, note)
    print_record(manifest, spec, as_json=as_json)


def _reject_release(job: str, version: str, note: str, *, as_json: bool) -> None:
    from nightscore.cli.release_documents import release_document
    from nightscore.cli.show import out, print_json
    from nightscore.operations.releases.approval import reject_release

    release = reject_release(load(job), version, by=user_and_host(), note=note)

    if as_json:
        print_json(release_document(release))
    else:
        number = release.entry.number
        out.print(f"Version {version} is rejected, entry {number} of the log; nothing has moved.")
