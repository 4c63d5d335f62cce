"""The settlement report and the trial balance add up, or are not made."""

import io
from dataclasses import replace

import pytest
from pypdf import PdfReader

from contracts.split import split_by_weights
from reports.errors import StatementDoesNotFootError, TrialBalanceError
from reports.render.pdf import render_pdf
from reports.settlement import (
    CreatorLine,
    ForeignLine,
    SettlementInputs,
    UsageCounts,
    settlement_document,
)
from reports.trial_balance import (
    AccountBalance,
    build_trial_balance,
    trial_balance_csv,
    trial_balance_document,
)
from tests.reports.example import inputs

CREATORS = 43


def settlement(**changes):
    """A period with many creators, every kind of exclusion and every destination."""
    pool = inputs().pools[0]
    earned = split_by_weights(pool.destinations["paid"], list(range(1, CREATORS + 1)))
    creators = tuple(
        CreatorLine(f"pkg:creator-{place:02d}", units * 400, units * 330, units * 470, units, 1)
        for place, units in enumerate(earned)
    )
    reasons = ("bot", "cache_hit", "duplicate", "empty", "error", "self_dealing", "test")
    base = SettlementInputs(
        period="2026-11",
        period_start="2026-11-01",
        period_end="2026-11-30",
        report_date="2026-12-05",
        payer_id="org:example-models",
        currency="USD/6",
        pools=(pool,),
        creators=creators,
        usage=UsageCounts(440, 405, 192, 1, dict.fromkeys(reasons, 5)),
        prepared_by="user:accountant",
        approved_by="user:controller",
        entries=18,
        postings=241,
        trial_balance_units=0,
        checkpoint=inputs().checkpoint,
        attribution_method="path/1",
        model_versions=("tiny-gpt2@2026-11-02",),
        decoy_documents=60,
        generic_ppt=210_000_000_000,
        completeness="0.93 of the measured gain",
        audit_pack="2026-11.byline.zip",
        checks=(("Pools in = pools out", "yes"), ("Books re-performed", "yes, 18 entries")),
    )
    return replace(base, **changes)


def test_the_settlement_report_is_one_page():
    """An accountant signs one page, however many creators there are."""
    pages = PdfReader(io.BytesIO(render_pdf(settlement_document(settlement())))).pages
    assert len(pages) == 1
    text = pages[0].extract_text()
    assert "31 others" in text
    assert "user:controller" in text


def test_agreements_in_other_currencies_are_told_by_currency_with_rate_and_source():
    """On the same page, each sum in its own currency; without any there is no such table."""
    told = "0.9 EUR per USD on 2026-11-30, ECB"
    lines = (
        ForeignLine("EUR/2", 12_345_678, 1_111, told, 900),
        ForeignLine("ISK/0", 0, 0, "", 77),
    )
    document = settlement_document(settlement(foreign=lines))
    pages = PdfReader(io.BytesIO(render_pdf(document))).pages
    text = " ".join(pages[0].extract_text().split())
    assert len(pages) == 1
    assert f"EUR 12.345678 {told} 11.11 9.00" in text
    assert "ISK 0.000000 nothing to convert 0 77" in text
    assert (
        "other currencies"
        not in PdfReader(io.BytesIO(render_pdf(settlement_document(settlement()))))
        .pages[0]
        .extract_text()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trial_balance_units": 1}, "trial balance against zero"),
        ({"creators": settlement().creators[1:]}, "against what the pools paid"),
        ({"pools": (replace(inputs().pools[0], pool_units=3),)}, "destinations of pool"),
    ],
)
def test_a_settlement_that_does_not_add_up_is_refused(change, message):
    """No page is better than a page whose sums differ by a unit."""
    with pytest.raises(StatementDoesNotFootError, match=message):
        settlement_document(settlement(**change))


def lines(*pairs):
    """Balances of USD/6 accounts."""
    return [AccountBalance(name, "USD/6", units) for name, units in pairs]


def test_the_trial_balance_groups_accounts_and_lists_empty_ones():
    """Assets first, expenses last; an account with no balance is still there."""
    balance = build_trial_balance(
        lines(("Expenses:Royalty", 5), ("Assets:Cash", 0), ("Liabilities:Accrued:a", -5)),
        as_of="2026-11-30",
    )
    assert [line.account_id for line in balance.lines] == [
        "Assets:Cash",
        "Liabilities:Accrued:a",
        "Expenses:Royalty",
    ]
    assert balance.debit_units("USD/6") == 5
    assert trial_balance_csv(balance).splitlines()[2] == b"Liabilities:Accrued:a,USD/6,0,5"
    document = trial_balance_document(balance, date="2026-12-05", payer_id="org:example-models")
    text = PdfReader(io.BytesIO(render_pdf(document))).pages[0].extract_text()
    assert "Liabilities:Accrued:a" in text


def test_a_trial_balance_that_is_not_zero_is_refused():
    """Debits and credits that differ are shown to nobody as a balance."""
    with pytest.raises(TrialBalanceError, match="debits 5 != credits 4"):
        build_trial_balance(lines(("Assets:Cash", 5), ("Equity:Opening", -4)), as_of="2026-11-30")
