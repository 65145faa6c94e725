"""The section about two classifiers: what it says, and what it draws."""

import re

from markupsafe import escape

from nightscore.monitoring.differences.difference_summary import summarise_difference
from nightscore.profiles.differences.difference_counts import DifferenceCounts
from nightscore.reports.difference_plots import difference_png
from nightscore.reports.difference_section import Day, difference_page, draw_difference
from nightscore.schemas.comparison import ComparisonRecord, LossComparison
from tests.profiles.differences.compared import binary_spec, count_rows, make_rows


def count_days() -> tuple[list[Day], DifferenceCounts]:
    days: list[Day] = []
    whole = DifferenceCounts.empty(binary_spec())
    for number in range(2):
        counts = count_rows(make_rows(2_000, seed=number), binary_spec())
        both = whole.plus(counts)
        assert both is not None
        whole = both
        days.append(Day(f"2026-11-2{number}", summarise_difference(counts)))
    return days, whole


def test_the_page_says_and_draws_where_classifiers_differ() -> None:
    days, counts = count_days()
    section = draw_difference("Challenger <8>", summarise_difference(counts), counts, days=days)

    titles = [plot.title for plot in section.plots]
    assert titles == ["Both scores", "Differences", "Where they differ", "Over time"]
    assert "would be decided differently" in section.sentences[0]
    assert section.sentences[1].startswith("They differ most where dep_delay > 60: ")
    assert len(section.keys) == 20

    page = difference_page("Challengers", [section])
    assert page.count("<svg") == 4
    assert len(page) < 200_000
    assert "Challenger &lt;8&gt;" in page
    assert not re.search(r"#0[1-4]0[1-4]0[1-4]", page), "colours are the page's, light and dark"


def test_the_header_says_which_is_better_and_nothing_is_said_twice() -> None:
    counts = count_rows(make_rows(500, seed=0), binary_spec())
    loss = LossComparison(name="log_loss", champion=0.43, difference=-0.02)
    standing = ComparisonRecord(
        champion="7", challenger="8", verdict="better", by="labels", nights=12, losses=(loss,)
    )
    found = summarise_difference(counts)
    section = draw_difference("Challenger 8 against 7", found, counts, standing=standing)
    page = difference_page("Challengers", [section])

    assert page.count("Challenger 8 against 7: better after 12 nights.") == 1
    assert "log loss: -0.02" in page
    for sentence in section.sentences:
        assert page.count(str(escape(sentence))) == 1, sentence


def test_groups_of_a_sample_are_said_to_be_of_one() -> None:
    counts = count_rows(make_rows(2_000, seed=0), binary_spec(sample_bits=1))
    section = draw_difference("Challenger 8", summarise_difference(counts), counts)
    page = difference_page("Challengers", [section])
    assert section.sample.startswith("This is a sample: ")
    assert page.count(section.sample) == 2, "below the picture, and above the table"


def test_what_was_not_compared_is_said() -> None:
    section = draw_difference("Challenger 8", None, None, notes=["no run is published"])
    page = difference_page("Challengers", [section])
    assert "Nothing was compared yet." in page
    assert "Note: no run is published" in page


def test_the_picture_has_all_panels() -> None:
    _, counts = count_days()
    png = difference_png(counts, summarise_difference(counts))
    width = int.from_bytes(png[16:20], "big")
    assert width > 1_000
    assert len(png) < 60_000
