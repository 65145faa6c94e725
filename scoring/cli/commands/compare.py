"""`nightscore compare`."""

import json
from pathlib import Path
from typing import Any

from nightscore.cli.resolve import load, read_range
from nightscore.cli.show import err, out, print_json, print_table, show_count
from nightscore.cli.standing_text import show_standing
from nightscore.monitoring.differences.wording import (
    describe_difference,
    describe_sample,
    show_group,
    show_key,
    show_part,
)
from nightscore.operations.compare_versions import (
    Selection,
    VersionDifference,
    compare_versions,
)
from nightscore.operations.standing import standing_of
from nightscore.schemas.difference import DifferenceRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import show_value

MOST_ROWS = 10
"""Groups, keys and partitions that a table shows. JSON has all."""


def compare(
    job: str,
    challenger: str | None,
    between: tuple[str | None, str | None],
    last: int,
    run_id: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Print how challengers differ, and draw it on request."""
    spec = load(job)
    first_value, last_value = read_range(spec, *between, "compare")
    selection = Selection(first=first_value, last=last_value, n_latest=last, run_id=run_id)
    found = compare_versions(spec, challenger, selection)

    if output:
        from nightscore.operations.compare_page import read_compare_page  # draws

        output.write_text(read_compare_page(spec, found), encoding="utf-8")
        err.print(f"The page is in {output}")

    if as_json:
        print_json({"challengers": [_document(spec, one) for one in found]})
        return

    for one in found:
        _print(one)
        for line in show_standing(standing_of(spec, one.label)):
            out.print(line)


def _document(spec: ScoringJob, found: VersionDifference) -> dict[str, Any]:
    partitions = []
    for one in found.partitions:
        difference = _json(one.difference)
        partitions.append(
            {"partition": one.partition, "run_id": one.run_id, "difference": difference}
        )

    return {
        "challenger": found.label,
        "champion_version": found.champion,
        "challenger_version": found.challenger,
        "difference": _json(found.difference),
        "partitions": partitions,
        "notes": found.notes,
        "standing": json.loads(standing_of(spec, found.label).model_dump_json()),
    }


def _json(record: DifferenceRecord | None) -> Any:
    return None if record is None else json.loads(record.model_dump_json())


def _print(found: VersionDifference) -> None:
    out.print(found.title)

    difference = found.difference
    if difference is not None:
        for sentence in describe_difference(difference):
            out.print(f"- {sentence}")

        _print_partitions(found)
        _print_groups(difference)
        _print_keys(difference)

    for note in found.notes:
        out.print(f"Note: {note}")


def _print_partitions(found: VersionDifference) -> None:
    if len(found.partitions) < 2:
        return

    rows = []
    for one in found.partitions[:MOST_ROWS]:
        flips, delta = one.difference.flips, one.difference.delta
        rows.append(
            {
                "partition": show_value(one.partition),
                "rows": show_count(one.difference.n),
                "become positive": "" if flips is None else show_count(flips.n01),
                "become negative": "" if flips is None else show_count(flips.n10),
                "mean": "" if delta is None else f"{delta.mean:+.3g}",
                "mean size": "" if delta is None else f"{delta.mean_absolute:.3g}",
            }
        )

    columns = tuple(rows[0])
    print_table("The partitions that differ most", columns, rows)


def _print_groups(difference: DifferenceRecord) -> None:
    rows = []
    for group in difference.groups:
        ratio = group.ratio
        rows.append(
            {
                "rows where": show_group(group),
                "share": show_part(group.share),
                "mean": f"{group.mean:+.3g}",
                "mean size": f"{group.mean_absolute:.3g}",
                "times elsewhere": "" if ratio is None else f"{ratio:.1f}",
            }
        )

    if rows:
        title = ". ".join(filter(None, ["Where they differ most", describe_sample(difference)]))
        print_table(title, tuple(rows[0]), rows[:MOST_ROWS])


def _print_keys(difference: DifferenceRecord) -> None:
    rows = []
    for row in difference.keys[:MOST_ROWS]:
        rows.append(
            {
                "key": show_key(row),
                "champion": f"{row.champion:.4g}",
                "challenger": f"{row.challenger:.4g}",
                "difference": f"{row.challenger - row.champion:+.4g}",
            }
        )

    if rows:
        print_table("The rows that differ most", tuple(rows[0]), rows)
