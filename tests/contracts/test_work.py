"""Who owns how much of a work on which date, and catalogues that say so."""

import json
from datetime import date
from fractions import Fraction

import pytest

from contracts.errors import BadFilesError, IdentifierError, SplitSheetError
from contracts.party import Party
from contracts.work import Work, WorkSplit, check_splits, load_catalogue

HALF = Fraction(1, 2)


def catalogue_data(**changes):
    """Return a small right catalogue, with parts of it replaced."""
    return {
        "format": "byline-catalogue/1",
        "sources": [{"source_id": "s1", "kind": "package", "title": "S", "licence": "MIT"}],
        "parties": [{"party_id": "anna"}, {"party_id": "bo", "payee_id": "anna"}],
        "works": [
            {
                "work_id": "w1",
                "title": "W",
                "source_id": "s1",
                "splits": [
                    {"party_id": "anna", "share": "1/3"},
                    {"party_id": "bo", "share": "2/3"},
                ],
                "external_ids": {"doi": "10.1/x"},
            },
            {"work_id": "w2"},
        ],
        "documents": [{"document_id": "d1", "work_id": "w1"}],
    } | changes


def write(folder, data):
    """Write a catalogue file and return its path."""
    path = folder / "catalogue.json"
    path.write_text(json.dumps(data, indent=1), encoding="utf-8")
    return path


def test_a_right_catalogue_is_read_whole(tmp_path):
    """Sources, parties, works and documents all come back."""
    catalogue = load_catalogue(write(tmp_path, catalogue_data()))
    day = date(2026, 11, 1)
    assert catalogue.works["w1"].shares_on(day) == {"anna": Fraction(1, 3), "bo": Fraction(2, 3)}
    assert catalogue.works["w2"].shares_on(day) == {}
    assert catalogue.parties["bo"].payee_id == "anna"
    assert catalogue.documents_of("w1") == ("d1",)
    assert [work.work_id for work in catalogue.works_of("bo", day)] == ["w1"]


def test_every_fault_of_a_catalogue_is_found_at_once(tmp_path):
    """Five faults give five lines, each with the line of the record."""
    data = catalogue_data(
        documents=[{"document_id": "d1", "work_id": "nowhere"}, {"document_id": "d1"}],
        works=[
            {
                "work_id": "w1",
                "source_id": "s9",
                "splits": [{"party_id": "anna", "share": "1/3"}, {"party_id": "x", "share": "1/3"}],
            },
            {"work_id": "w2", "splits": [{"party_id": "anna", "share": 0.5}]},
            {"title": "no id"},
            {"work_id": "w3", "splits": [{"party_id": "ghost", "share": "1"}]},
        ],
    )
    path = write(tmp_path, data)
    with pytest.raises(BadFilesError) as caught:
        load_catalogue(path)
    text = str(caught.value)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert "add up to 2/3, not 1 (1/3 too little)" in text
    assert "got the number 0.5" in text
    assert "a record with a text field work_id" in text
    assert "found 'ghost', expected the id of a party" in text
    assert "found 'nowhere', expected the id of a work" in text
    assert "an id used only once" in text
    for fault in caught.value.faults:
        if fault.field == "works[3].splits":
            assert '"w3"' in lines[fault.line - 1]


def test_a_file_that_is_no_catalogue_is_named_with_its_line(tmp_path):
    """Broken JSON and a foreign format are told apart."""
    path = tmp_path / "catalogue.json"
    path.write_text('{\n "format": ', encoding="utf-8")
    with pytest.raises(BadFilesError, match=r"catalogue\.json:2: \(file\): found Expecting value"):
        load_catalogue(path)
    with pytest.raises(BadFilesError, match="expected byline-catalogue/1"):
        load_catalogue(write(tmp_path, catalogue_data(format="other/1")))


def test_a_share_ends_the_day_before_its_successor_begins():
    """On no day do an old and a new owner both hold the share."""
    change = date(2026, 7, 1)
    work = Work(
        "w",
        splits=(
            WorkSplit("anna", Fraction(1), effective_to=change),
            WorkSplit("bo", Fraction(1), effective_from=change),
        ),
    )
    check_splits(work)
    assert work.shares_on(date(2026, 6, 30)) == {"anna": 1}
    assert work.shares_on(change) == {"bo": 1}


def test_a_right_with_a_sheet_of_its_own_is_read_from_it():
    """A training right can be owned otherwise than the rest."""
    work = Work(
        "w", splits=(WorkSplit("anna", Fraction(1)), WorkSplit("bo", Fraction(1), right="t"))
    )
    check_splits(work)
    assert work.shares_on(date(2026, 1, 1), "t") == {"bo": 1}
    assert work.shares_on(date(2026, 1, 1), "other") == {"anna": 1}


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ([HALF], r"1/2, not 1 \(1/2 too little\)"),
        ([HALF, HALF, HALF], r"3/2, not 1 \(1/2 too much\)"),
    ],
)
def test_shares_that_do_not_add_up_are_refused_with_the_difference(shares, message):
    """A sheet says who owns all of a work, and nothing twice."""
    splits = tuple(WorkSplit(f"p{i}", share) for i, share in enumerate(shares))
    with pytest.raises(SplitSheetError, match=message):
        check_splits(Work("w", splits=splits))


def test_shares_and_intervals_out_of_range_are_refused():
    """A share of nothing and an interval that runs backwards are mistakes."""
    with pytest.raises(SplitSheetError, match="above 0 and at most 1, got 0"):
        WorkSplit("anna", Fraction(0))
    with pytest.raises(SplitSheetError, match="not after it begins"):
        WorkSplit("anna", HALF, date(2026, 2, 1), date(2026, 2, 1))


def test_ids_say_nothing_about_a_person():
    """A name with a space is refused, and kinds are a closed list."""
    with pytest.raises(IdentifierError, match="party_id must be 1 to 128"):
        Party("Anna Andersson")
    with pytest.raises(IdentifierError, match="party kind"):
        Party("anna", "poet")
