"""Drafts, approvals, evidence and disputes on both databases, and the rows nobody can change."""

from dataclasses import replace
from datetime import date
from fractions import Fraction

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError

from contracts import triggers
from contracts.agreement import AgreementBook
from contracts.errors import ApprovalRefusedError, StoreConflictError, UnknownVersionError
from contracts.importers.native import parse_agreements
from contracts.party import Party
from contracts.store_desk import AgreementDesk, DisputeStep, Evidence, check_approved
from contracts.work import Work, WorkSplit
from ledger import store_schema
from ledger.store_connect import database_url
from tests.contracts.test_store import AGREEMENT, PARTIES
from tests.databases import fresh_book

KINDS = [
    pytest.param("sqlite", id="sqlite"),
    pytest.param("postgresql", id="postgresql", marks=pytest.mark.postgres),
]
EVIDENCE = Evidence(
    "rsl", "RSL 1.0", "https://x.example/l", "2026-11-01T00:00:00Z", "<rsl/>", ("a",)
)


@pytest.fixture(params=KINDS)
def url(request, tmp_path):
    """A book at the newest revision, on each database in turn."""
    with fresh_book(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def desk(url):
    """The desk of that book, on connections without any check of ours."""
    engine = create_engine(database_url(url))
    yield AgreementDesk(engine)
    engine.dispose()


def loaded(text=AGREEMENT):
    """Return the agreement of the store's tests."""
    return parse_agreements({"p.yaml": PARTIES, "a.yaml": text})


def fill(desk):
    """Store one row in every table."""
    desk.save_parties([Party("anna"), Party("bo")])
    desk.save_book(loaded())
    work = Work("w1", splits=(WorkSplit("anna", Fraction(1)),))
    assert desk.decide_shares(work, "clerk-1", "claim 12") == 1
    assert desk.decide_shares(work, "clerk-1", "claim 13") == 2
    desk.save_evidence(EVIDENCE)
    step = DisputeStep("d1", "opened", "w1", "bo", Fraction(1, 2), date(2026, 11, 1))
    assert desk.save_disputes([step]) == 1
    assert desk.save_disputes([step]) == 0
    assert desk.disputes() == [step]


def test_a_draft_is_no_agreement_until_somebody_else_approves_it(desk):
    """The preparer cannot, a second person can, and saying so twice changes nothing."""
    assert desk.prepare(loaded(), "lena") == 4
    assert desk.prepare(loaded(), "lena") == 0
    assert desk.book().agreements == ()
    with pytest.raises(ApprovalRefusedError, match="prepared by lena"):
        desk.approve("agr_anna", 1, "lena")
    desk.approve("agr_anna", 1, "marc")
    desk.approve("agr_anna", 1, "marc")
    (stored,) = desk.versions()
    assert (stored.status, stored.prepared_by, stored.approved_by) == ("approved", "lena", "marc")
    assert [a.agreement_id for a in desk.book().agreements] == ["agr_anna"]
    check_approved(desk.book(), desk.versions())
    other = AgreementBook((replace(stored.agreement, payload_sha256="0" * 64),))
    with pytest.raises(ApprovalRefusedError, match="another text than the approved one"):
        check_approved(other, desk.versions())
    with pytest.raises(StoreConflictError, match="party_id 'marc'"):
        desk.approve("agr_anna", 1, "nora")
    with pytest.raises(UnknownVersionError, match="agr_anna v2 is not in the database"):
        desk.approve("agr_anna", 2, "marc")


def test_the_database_itself_refuses_the_preparers_approval(desk):
    """A client that asks nobody is told by the trigger."""
    desk.prepare(loaded(), "lena")
    sql = (
        "INSERT INTO agreement_step (agreement_id, version, step, party_id) "
        "VALUES ('agr_anna', 1, 'approved', 'lena')"
    )
    with (
        pytest.raises(DBAPIError, match="byline:second_person"),
        desk._engine.begin() as connection,
    ):
        connection.exec_driver_sql(sql)


@pytest.mark.parametrize("verb", ["UPDATE", "DELETE", "REPLACE"])
def test_no_row_of_contracts_can_be_changed_or_deleted(desk, verb):
    """Each table with a row in it refuses, on SQLite INSERT OR REPLACE too."""
    fill(desk)
    sqlite = desk._engine.dialect.name == "sqlite"
    refused = []
    for table, keys in triggers.KEYS.items():
        sql = {
            "UPDATE": f"UPDATE {table} SET {keys[0]} = {keys[0]}",
            "DELETE": f"DELETE FROM {table}",
            "REPLACE": f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}"
            if sqlite
            else f"TRUNCATE {table} CASCADE",
        }[verb]
        with desk._engine.connect() as connection:
            if connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0:
                continue
            with pytest.raises(DBAPIError, match="byline:append_only"):
                connection.exec_driver_sql(sql)
            refused.append(table)
    assert {"agreement", "party", "work", "work_split", "dispute", "import_evidence"} <= {*refused}


def test_evidence_and_drafts_come_back_and_create_no_agreement(desk):
    """What was found, where and when; the drafts stand beside it."""
    assert desk.save_evidence(EVIDENCE) == 2
    assert desk.save_evidence(EVIDENCE) == 0
    assert desk.evidence() == [EVIDENCE]
    assert list(desk.drafts().values()) == ["a"]
    assert desk.versions() == []


def test_who_approved_what_is_not_dropped_by_going_down(url, desk):
    """The revision's downgrade refuses while there is an approval, and works without one."""
    store_schema.migrate(url, "0003", down=True)
    store_schema.upgrade(url)
    desk.prepare(loaded(), "lena")
    with pytest.raises(RuntimeError, match="agreement_step has 1 rows"):
        store_schema.migrate(url, "0003", down=True)
    assert len(desk.versions()) == 1
