"""Native agreement files: a right folder loads whole, a wrong one lists every fault it has.

Each file in `bad_agreements/` is wrong in the one way its name says; its first line states the
line, the field and the expectation that the loader has to give.
"""

import re
from datetime import date
from fractions import Fraction
from pathlib import Path

import jsonschema
import pytest

from contracts.accrual import Fallback
from contracts.errors import BadFilesError
from contracts.importers.native import load_agreements, parse_agreements, schema
from contracts.importers.yaml_text import read_yaml
from contracts.period import Period
from contracts.rate import Applies, Window
from contracts.terms import Basis
from contracts.usage import Use

BAD_FILES = sorted((Path(__file__).parent / "bad_agreements").glob("*.yaml"))
PARTIES = """\
format: byline-parties/1
parties:
  - {party_id: anna, identifiers: {isni: 0000000000000001}}
  - {party_id: bo, kind: publisher, payee: agent-1}
  - {party_id: agent-1, kind: agent}
  - {party_id: operator, kind: operator}
"""
FULL = """\
format: byline-agreement/1
agreement_id: agr_bo
version: 3
licensor: bo
licensee: operator
payee: agent-1
currency: EUR/4
effective_from: 2026-11-01
effective_to: 2028-11-01
year_starts: 2025-11-01
works: [w1, w2]
terms:
  - term_id: outputs
    if: {use: [output_influence], territory: [SE], model_version: [m1], works: [w1], right: [text]}
    then:
      basis: pool_share
      pool: revenue
      rate: 50%
      method: signed_linear/1
      tiers:
        counted: year
        applies: whole
        steps: [{above: 0, rate: 5%}, {above: 1000.00, rate: 1/12}]
      deductions: [{name: administration fee, rate: 5%}, {name: bank fee, amount: 1.50}]
      cap: 10000.00
      cap_per_work: 500.00
      floor: 10
      reserve: {rate: 10%, release: [50%, 25%, 25%]}
  - term_id: tokens
    then: {basis: per_token, price: 0.0000004}
  - term_id: training
    if: {use: [train]}
    then: {basis: flat, amount: 1200.00, first_period: 2026-11, periods: 12}
advances: [{advance_id: a1, amount: 500.00, paid_on: 2026-11-01}]
recoupment_rate: 50%
guarantee: {amount: 2000, prorated: true}
noise_floor: off
reliability: {limit: 50%, fallback: fixed, weight: 1/2, fixed_weight: 3}
collateral_group: bo-all
withholding:
  country: US
  rate: 30%
  treaty_rate: 0%
  article: Art. 12
  certificate: W8-77
  certificate_from: 2026-01-01
  certificate_to: 2028-12-31
indirect_tax: {name: VAT SE, rate: 25%}
payment: {currency: SEK/2, threshold: 250}
"""


def test_every_field_of_an_agreement_is_read_exactly():
    """No number passes through a float, and every clause arrives in its dataclass."""
    book = parse_agreements({"parties.yaml": PARTIES, "bo.yaml": FULL})
    (agreement,) = book.agreements
    outputs, tokens, training = agreement.terms
    assert agreement.payee_id == "agent-1"
    assert agreement.works == ("w1", "w2")
    assert (agreement.effective_to, agreement.year_starts) == (date(2028, 11, 1), date(2025, 11, 1))
    assert outputs.rate == Fraction(1, 2)
    assert outputs.condition.uses == (Use.OUTPUT_INFLUENCE,)
    assert outputs.condition.specificity == 5
    assert [step.rate for step in outputs.tiers.steps] == [Fraction(1, 20), Fraction(1, 12)]
    assert outputs.tiers.steps[1].above == 1000 * 10**4
    assert (outputs.tiers.counted, outputs.tiers.applies) == (Window.YEAR, Applies.WHOLE)
    assert [d.amount_units for d in outputs.deductions] == [0, 15000]
    assert (outputs.cap_units, outputs.floor_units) == (10**8, 10**5)
    assert outputs.cap_per_work_units == 500 * 10**4
    assert outputs.reserve.release == (Fraction(1, 2), Fraction(1, 4), Fraction(1, 4))
    assert (tokens.basis, tokens.rate) == (Basis.PER_TOKEN, Fraction(4, 1000))
    assert training.flat.earned_in(Period("2027-10")) == 100 * 10**4
    assert agreement.advance_units == 500 * 10**4
    assert agreement.recoupment_rate == Fraction(1, 2)
    assert agreement.guarantee.prorated
    assert agreement.noise_z is None
    assert agreement.reliability.fallback is Fallback.FIXED
    assert agreement.fixed_weight == 3
    assert agreement.withholding.rate_on(date(2027, 1, 1))[0] == 0
    assert agreement.indirect_tax.rate == Fraction(1, 4)
    assert (agreement.payment_currency, agreement.threshold_units) == ("SEK/2", 25000)
    assert book.payee_of("bo", date(2026, 11, 1)) == "agent-1"
    assert len(agreement.payload_sha256) == 64
    assert agreement.payload == FULL


@pytest.mark.parametrize("path", BAD_FILES, ids=lambda path: path.stem)
def test_each_way_to_be_wrong_is_named_with_its_line(path):
    """The fault says where it is and what was expected, and is the only one."""
    text = path.read_text(encoding="utf-8")
    line, where, expected = re.match(r"# expect: (\d+): (.+?): (.*)", text).groups()
    texts = {"parties.yaml": PARTIES, path.name: text}
    with pytest.raises(BadFilesError) as caught:
        parse_agreements(texts)
    faults = [fault for fault in caught.value.faults if fault.file == path.name]
    assert [(fault.line, fault.field) for fault in faults] == [(int(line), where)], str(
        caught.value
    )
    assert expected in faults[0].expected


def test_all_bad_files_together_give_all_faults_in_one_pass(tmp_path):
    """One run over a folder of wrong files lists each of them, and loads nothing."""
    (tmp_path / "parties.yaml").write_text(PARTIES, encoding="utf-8")
    for path in BAD_FILES:
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(BadFilesError) as caught:
        load_agreements(tmp_path)
    named = {Path(fault.file).name for fault in caught.value.faults}
    assert {path.name for path in BAD_FILES} - named <= {"party_declared_twice.yaml"}
    assert "nothing was loaded" in str(caught.value)


def test_faults_of_shape_and_of_meaning_are_found_in_the_same_pass():
    """A wrong basis in one term hides neither the schedule of the next nor the licensor."""
    text = FULL.replace("basis: pool_share", "basis: guesswork").replace("[50%, 25%, 25%]", "[50%]")
    text = text.replace("licensor: bo", "licensor: ghost").replace("prorated: true", "prorated: ja")
    with pytest.raises(BadFilesError) as caught:
        parse_agreements({"parties.yaml": PARTIES, "bo.yaml": text})
    assert [fault.field for fault in caught.value.faults] == [
        "licensor",
        "terms[0].then.basis",
        "terms[0].then.reserve",
        "guarantee.prorated",
    ]


def test_a_version_given_twice_names_both_files():
    """Two files with one version contradict each other, whatever they say."""
    with pytest.raises(BadFilesError, match=r"version 3 is in a\.yaml"):
        parse_agreements({"parties.yaml": PARTIES, "a.yaml": FULL, "b.yaml": FULL})


def test_a_version_in_another_currency_than_the_one_before_is_refused():
    """An advance of 500 in one currency is not 500 in the other."""
    later = FULL.replace("version: 3", "version: 4").replace("EUR/4", "USD/4")
    assert later != FULL
    with pytest.raises(BadFilesError, match=r"(?s)b\.yaml.*EUR/4 as in a\.yaml"):
        parse_agreements({"parties.yaml": PARTIES, "a.yaml": FULL, "b.yaml": later})


def test_a_missing_folder_and_a_binary_file_are_named(tmp_path):
    """What cannot be read is a fault like any other."""
    with pytest.raises(BadFilesError, match=r"expected a folder of \.yaml files"):
        load_agreements(tmp_path / "nowhere")
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFilesError, match=r"x\.yaml:1: \(file\): .* expected UTF-8 text"):
        load_agreements(tmp_path)


def test_the_schema_is_a_json_schema_and_accepts_what_the_loader_accepts():
    """Editors that use the schema see no fault in a file that loads."""
    jsonschema.Draft202012Validator.check_schema(schema())
    for text in (PARTIES, FULL):
        jsonschema.validate(read_yaml(text, file="x").value, schema())
