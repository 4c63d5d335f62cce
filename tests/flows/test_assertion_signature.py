"""What an officer signed is his: the signature is checked before a report speaks of it."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.signature import sign_agreement
from flows import cli
from flows.assertion_signature import KIND
from tests.flows.papers import closed_months

PERIOD = "2026-01"
TEXT = f"""format: byline-assertion/1
period: {PERIOD}
assertion:
  text: We assert that the books are complete.
  signed_by: officer-1
  signed_on: 2026-02-10
"""
OFFICER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
SIGNED = sign_agreement(TEXT, "officer-1", OFFICER, KIND)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A closed month whose workspace trusts one officer's key."""
    folder = tmp_path_factory.mktemp("signed") / "home"
    with pytest.MonkeyPatch.context() as patch:
        made = closed_months(patch, folder, 1)
    raw = OFFICER.public_key().public_bytes_raw()
    line = f"officer-1 {base64.b64encode(raw).decode()}\n"
    (folder / "keys" / "assertion-signers.pub").write_text(line, encoding="utf-8")
    return made


def report(home, capsys, text, path):
    """Write the report with an assertion; return exit code, section 2's figures and stderr."""
    path.write_text(text, encoding="utf-8")
    words = ["--dir", str(home.home), "--period", PERIOD, "--format", "json"]
    made = home.reports(PERIOD) / "compliance.json"
    made.unlink(missing_ok=True)
    code = cli.run(["report", "compliance", *words, "--assertion", str(path)])
    said = json.loads(made.read_bytes()) if made.exists() else {"sections": []}
    figures = [s["figures"] for s in said["sections"] if int(s["number"]) == 2]
    return code, figures[0] if figures else [], capsys.readouterr().err


def test_a_signature_that_holds_is_cited_with_the_text(home, capsys, tmp_path):
    """The officer's id, the day, the file's digest, and that the key was checked."""
    code, figures, _ = report(home, capsys, SIGNED, tmp_path / "signed.yaml")
    assert code == 0
    assert figures[0]["value"] == "officer-1, 2026-02-10"
    assert figures[0]["source"].endswith("signature of officer-1 checked")


def test_a_file_that_nobody_signed_is_said_to_be_unsigned(home, capsys, tmp_path):
    """Whoever reads the report sees that the name in it is only a name."""
    code, figures, _ = report(home, capsys, TEXT, tmp_path / "plain.yaml")
    assert code == 0
    assert figures[0]["source"].endswith("not signed by anybody's key")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (SIGNED.replace("complete", "nearly complete"), "was changed after signing"),
        (sign_agreement(TEXT, "officer-1", OTHER, KIND), "does not hold"),
        (sign_agreement(TEXT, "officer-1", OFFICER), "does not hold"),
        (sign_agreement(TEXT.replace("officer-1", "ceo"), "ceo", OTHER, KIND), "none of the trust"),
        (SIGNED.replace("signed_by: officer-1", "signed_by: officer-2"), "says 'officer-2' signed"),
        (TEXT + "signature: yes\n", "Its keys are signer, value"),
    ],
    ids=["changed", "other key", "an agreement's", "unknown", "somebody else's", "no signature"],
)
def test_a_signature_that_does_not_hold_stops_the_report(home, capsys, tmp_path, text, reason):
    """A text that was changed, another key, another person: no report, and the reason."""
    code, figures, err = report(home, capsys, text, tmp_path / "wrong.yaml")
    assert (code, figures) == (1, [])
    assert reason in err
    assert "no report was written" in err


def test_without_trusted_keys_a_signed_file_is_not_believed(home, capsys, tmp_path):
    """The message says which file to write."""
    path = home.home / "keys" / "assertion-signers.pub"
    kept = path.read_bytes()
    path.unlink()
    try:
        code, _, err = report(home, capsys, SIGNED, tmp_path / "signed.yaml")
    finally:
        path.write_bytes(kept)
    assert code == 1
    assert "assertion-signers.pub is missing" in err
