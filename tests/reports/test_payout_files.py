"""Bank files: the schema accepts them, a second reader reads them, and answers come back."""

import re
from importlib import resources

import pytest

from reports.payouts.answers import read_camt053, read_pain002
from reports.payouts.batch import advance, message_id
from reports.payouts.errors import BankFileError, PayoutError
from reports.payouts.nacha import Originator, write_nacha
from reports.payouts.pain001 import Debtor, control_sum, write_pain001
from tests.reports.test_payouts import COMPANY, GERMAN, PERSON, approved, drafted, owed

DEBTOR = Debtor("Example Models GmbH", "DE75512108001245126199", "SOGEDEFF")
ODFI = Originator("Example Models", "1987654321", "021000021", "First Bank", "011401533")
EUROS = (owed("a", 12_345_678, GERMAN), owed("b", 999_990_000))
DOLLARS = (
    owed("c", 1_000_000_000, PERSON, "USD/6"),
    owed("d", 250_010_000, COMPANY, "USD/6"),
)


def message(*lines):
    """A pain.001 of these lines."""
    return write_pain001(
        approved(*lines), DEBTOR, created_at="2026-12-10T09:00:00Z", execute_on="2026-12-11"
    )


def test_the_schema_accepts_the_message():
    """Every element in its place, every field within its pattern."""
    xmlschema = pytest.importorskip("xmlschema", reason="needs xmlschema and sepaxml's schemas")
    pytest.importorskip("sepaxml", reason="ships the schema of pain.001.001.09")
    schema = resources.files("sepaxml") / "schemas" / "pain.001.001.09.xsd"
    pounds = owed("z", 5_000_000, currency="GBP/6")
    xmlschema.XMLSchema(str(schema)).validate(message(*EUROS, pounds).decode())


def test_a_second_reader_finds_the_same_payments():
    """Another library reads ids, amounts, names and the structured address."""
    pytest.importorskip("xsdata", reason="needs xsdata, which pyiso20022 is made with")
    pytest.importorskip("pyiso20022", reason="needs pyiso20022 as the second reader")
    from pyiso20022.pain.pain_001_001_09 import Document
    from xsdata.formats.dataclass.parsers import XmlParser

    document = XmlParser().from_bytes(message(*EUROS), Document).cstmr_cdt_trf_initn
    assert document.grp_hdr.nb_of_txs == "2"
    assert str(document.grp_hdr.ctrl_sum) == "1012.33"
    (block,) = document.pmt_inf
    first = block.cdt_trf_tx_inf[0]
    assert str(first.amt.instd_amt.value) == "12.34"
    assert first.cdtr.nm == "Lodz Press + Son"
    assert (first.cdtr.pstl_adr.twn_nm, first.cdtr.pstl_adr.ctry) == ("Koln", "DE")
    assert first.cdtr_acct.id.iban == "DE89370400440532013000"


def test_control_sums_are_added_from_the_payments():
    """Header and blocks: the sum of coins, over currencies as the standard has it."""
    batch = approved(*EUROS, owed("j", 7_000_000, currency="JPY/6"))
    assert control_sum(batch.payouts) == "1019.33"
    text = message(*EUROS).decode()
    assert re.findall(r"<CtrlSum>(.*)</CtrlSum>", text) == ["1012.33", "1012.33"]
    assert text.count("<Cd>ROYA</Cd>") == 2
    assert message(*EUROS) == message(*EUROS)


def test_a_draft_is_never_written_to_a_bank():
    """Approval comes before the file."""
    with pytest.raises(PayoutError, match="is draft, not approved"):
        write_pain001(drafted(*EUROS), DEBTOR, created_at="", execute_on="2026-12-11")
    with pytest.raises(PayoutError, match="has no IBAN"):
        message(*DOLLARS)
    with pytest.raises(PayoutError, match="has no payout"):
        message(owed("a", -1))


def nacha(*lines):
    """A NACHA file of these lines, as a list of records."""
    data = write_nacha(
        approved(*lines),
        ODFI,
        created_on="2026-12-10",
        created_at="0900",
        effective_on="2026-12-11",
    )
    return data.decode("ascii").splitlines()


def test_nacha_records_have_their_length_blocks_and_hash():
    """Persons by PPD, companies by CCD with an addenda; totals and hashes by hand."""
    lines = nacha(*DOLLARS)
    assert {len(line) for line in lines} == {94}
    assert len(lines) % 10 == 0
    assert [line[50:53] for line in lines if line[0] == "5"] == ["PPD", "CCD"]
    entries = [line for line in lines if line[0] == "6"]
    assert [line[29:39] for line in entries] == ["0000100000", "0000025001"]
    assert [line[1:3] for line in entries] == ["22", "22"]
    assert sum(line[0] == "7" for line in lines) == 1
    control = next(line for line in lines if line[0] == "9")
    assert control[1:7] == "000002"
    assert int(control[7:13]) == len(lines) // 10
    assert control[13:21] == "00000003"
    assert int(control[21:31]) == 2_100_002 + 1_140_153
    assert control[31:43] == "0" * 12
    assert int(control[43:55]) == 125_001


def test_nacha_fields_stand_where_the_format_has_them():
    """Class, description, dates, status and batch number, by column."""
    header = next(line for line in nacha(*DOLLARS) if line[0] == "5")
    assert header[1:4] == "220"
    assert header[4:20] == "Example Models  "
    assert header[40:50] == "1987654321"
    assert header[53:63] == "ROYALTY   "
    assert header[63:69] == "261210"
    assert header[69:75] == "261211"
    assert header[78] == "1"
    assert header[79:87] == "01140153"
    assert header[87:94] == "0000001"


def test_nacha_refuses_what_is_not_domestic():
    """Euros and IBANs are not dressed up as PPD."""
    with pytest.raises(PayoutError, match="is in EUR/6"):
        nacha(*EUROS)


def pain002(batch, *transactions, original=None):
    """A status report with (id, status, reason) transactions."""
    body = "".join(
        f"<TxInfAndSts><OrgnlEndToEndId>{one}</OrgnlEndToEndId><TxSts>{status}</TxSts>"
        f"<StsRsnInf><Rsn><Cd>{reason}</Cd></Rsn></StsRsnInf></TxInfAndSts>"
        for one, status, reason in transactions
    )
    return (
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.10"><CstmrPmtStsRpt>'
        f"<OrgnlGrpInfAndSts><OrgnlMsgId>{original or message_id(batch)}</OrgnlMsgId>"
        "<GrpSts>PART</GrpSts></OrgnlGrpInfAndSts>"
        f"<OrgnlPmtInfAndSts>{body}</OrgnlPmtInfAndSts></CstmrPmtStsRpt></Document>"
    ).encode()


def camt053(*entries):
    """A bank statement with (id, amount, indicator, return reason) entries."""
    body = "".join(
        f'<Ntry><Amt Ccy="EUR">{amount}</Amt><CdtDbtInd>{side}</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>'
        f"<BookgDt><Dt>2026-12-12</Dt></BookgDt><NtryDtls><TxDtls><Refs><EndToEndId>{one}"
        f"</EndToEndId></Refs>{f'<RtrInf><Rsn><Cd>{why}</Cd></Rsn></RtrInf>' if why else ''}"
        "</TxDtls></NtryDtls></Ntry>"
        for one, amount, side, why in entries
    )
    return (
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><Stmt>'
        f"{body}</Stmt></BkToCstmrStmt></Document>"
    ).encode()


def test_a_status_report_accepts_and_rejects_by_id():
    """One payment goes through, one comes back to what is owed, a stranger is listed."""
    batch, _ = advance(approved(*EUROS), "export", actor="x", day="2026-12-10")
    one, two = (item.payout_id for item in batch.payouts)
    answers = read_pain002(
        pain002(batch, (one, "ACSC", ""), (two, "RJCT", "AC04"), ("POX", "RJCT", "")), batch
    )
    assert [(a.event, a.code) for a in answers.matched] == [
        ("accept", "ACSC"),
        ("reject", "RJCT AC04"),
    ]
    assert answers.unmatched == ("POX",)
    for answer in answers.matched:
        batch, _ = advance(
            batch, answer.event, actor="bank", day="2026-12-11", payout_ids=[answer.payout_id]
        )
    assert [item.state for item in batch.payouts] == ["accepted", "rejected"]
    with pytest.raises(BankFileError, match="OrgnlMsgId is OTHER"):
        read_pain002(pain002(batch, original="OTHER"), batch)


def test_a_bank_statement_settles_and_returns():
    """Debits settle, credits with a reason return; an amount that differs is no match."""
    batch, _ = advance(approved(*EUROS), "export", actor="x", day="2026-12-10")
    one, two = (item.payout_id for item in batch.payouts)
    answers = read_camt053(
        camt053((one, "12.34", "DBIT", ""), (two, "999.99", "CRDT", "AC04")), batch
    )
    assert [(a.event, a.code, a.day) for a in answers.matched] == [
        ("settle", "BOOK", "2026-12-12"),
        ("return", "AC04", "2026-12-12"),
    ]
    with pytest.raises(BankFileError, match=r"amount of PO\w+ is 12\.35 EUR"):
        read_camt053(camt053((one, "12.35", "DBIT", "")), batch)


@pytest.mark.parametrize(
    ("data", "message_text"),
    [
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]><x/>", "a document type"),
        (b"<x", "expected XML"),
        (b"<Document><Other/></Document>", "message is Other"),
    ],
)
def test_files_that_are_not_bank_statements_are_refused(data, message_text):
    """No entity is expanded and nothing is booked."""
    with pytest.raises(BankFileError, match=message_text):
        read_camt053(data, approved(*EUROS))
