"""How challengers differ from the job's own model, in the Prefect UI: sentences, picture, keys."""

from collections.abc import Mapping, Sequence

from nightscore.flows.ui.markdown import escaped
from nightscore.monitoring.differences.wording import describe_difference, show_key
from nightscore.reports.plots import data_uri
from nightscore.schemas.challenger import ChallengerRecord
from nightscore.schemas.difference import DifferenceRecord
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import show_value

MAX_KEYS = 10
CAPTION = (
    "Rows by both scores, rows by challenger minus champion, and the mean size of the difference "
    "by group, as far as they are known"
)


def difference_markdown(
    manifest: Manifest, pictures: Mapping[str, bytes], compare_url: str = ""
) -> str:
    """The page of a run's challengers. Empty: none was compared.

    Args:
        manifest: Of the champion's run.
        pictures: PNGs, by the challenger's label.
        compare_url: URL of the page of all partitions; empty if no server has it.
    """
    compared = [one for one in manifest.challengers if one.difference is not None]
    if not compared:
        return ""

    lines = [f"## Challengers, {escaped(show_value(manifest.partition))}", ""]
    if compare_url:
        lines += [f"**[Open the page of all partitions]({compare_url})**", ""]

    for challenger in compared:
        lines += _lines(manifest, challenger, pictures.get(challenger.label, b""))

    lines.append("*No labels are needed for this, so it does not say which model is better.*")
    return "\n".join([*lines, ""])


def _lines(manifest: Manifest, challenger: ChallengerRecord, picture: bytes) -> Sequence[str]:
    found = challenger.difference
    assert found is not None  # noqa: S101
    versions = f"version {challenger.version} against {manifest.model.version}"

    lines = [f"### {escaped(challenger.label)}: {escaped(versions)}", ""]
    for sentence in describe_difference(found):
        lines.append(f"- {escaped(sentence)}")

    if picture:
        lines += ["", f"![{CAPTION}]({data_uri(picture)})", "", f"{CAPTION}."]
    return [*lines, "", *_key_table(found)]


def _key_table(found: DifferenceRecord) -> list[str]:
    """The rows that differ most."""
    if not found.keys:
        return []

    lines = ["| Key | champion | challenger | difference |", "| --- | ---: | ---: | ---: |"]
    for row in found.keys[:MAX_KEYS]:
        distance = row.challenger - row.champion
        scores = f"{row.champion:.4g} | {row.challenger:.4g} | {distance:+.4g}"
        lines.append(f"| {escaped(show_key(row))} | {scores} |")

    return [*lines, ""]
