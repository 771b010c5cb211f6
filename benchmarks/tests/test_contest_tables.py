from study.contest import contest
from study.contest_tables import contest_sections

from .test_contest import LITE0, lines, of

__all__ = ["lines"]


def cells(section):
    """Rows of a section by their first two cells; of an ablation by the first."""
    width = 1 if section.title == "Ablations" else 2
    return {row[:width]: dict(zip(section.columns, row, strict=True)) for row in section.rows}


def test_the_tables(lines):
    scores, duels, averages, ablations, _, failures = contest_sections(contest(lines))
    place = ("digits", LITE0)
    assert cells(scores)[place][">default"] == "82.0 ± 2.0"
    assert cells(scores)[place][">oracle"] == "90.0 ± 0.0"
    assert cells(scores)["cifar10", LITE0][">spectral"] == "-"
    assert cells(scores)["mean", "2 pairs"][">default"] == "66.0"
    assert cells(scores)["mean", "2 pairs"][">spectral"] == "-"  # it lacks a pair
    assert "Seeds: default 2 to 3, k-means 2 to 3, k-means, own space 3, spectral 1" in scores.notes[1]
    row = duels.rows[1]
    assert row[:3] == (*place, "+20.0")
    assert row[8:12] == ("spectral (of 3)", "-10.0", "-", "no")
    assert row[12:14] == ("2.0", "9")
    assert duels.rows[-1][0] == "mean"
    assert duels.rows[-1][11] == "1 of 2"
    assert averages.rows[1] == ("stronger k-means", "57.0", "+9.0", averages.rows[1][3], "2 of 2")
    assert cells(ablations)["whiten=false",][">change (95 %)"].startswith("-6.0 (")
    assert len(failures.rows) == 1


def test_every_row_has_every_column(lines):
    for section in contest_sections(contest(lines)):
        assert {len(row) for row in section.rows} == {len(section.columns)}, section.title


def test_what_there_is_not_is_left_out():
    titles = [section.title for section in contest_sections(contest(of("kmeans", [0.5])))]
    assert titles == ["ACC", "Seconds"]
    assert contest_sections(contest([])) == []
