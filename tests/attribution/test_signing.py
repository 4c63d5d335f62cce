"""Signed manifests and removal records: by whom, of what, and what is refused."""

import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as elliptic
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from attribution.errors import GradientIndexError, IndexDamagedError, IndexSignatureError
from attribution.index import GradientIndex, IndexConfig, build_index
from attribution.index_edit import Removal, compact, remove_documents
from attribution.index_verify import verify_index
from attribution.signing import MANIFEST, REMOVAL, KeySigner, check_signature, public_key
from tests.attribution import toy

SIGNER = KeySigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = KeySigner(Ed25519PrivateKey.from_private_bytes(bytes(32)))


def pem(key) -> bytes:
    """The private key as openssl writes it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A signed index over one checkpoint."""
    folder = tmp_path_factory.mktemp("signed")
    space = toy.workspace(folder, 8)
    out = folder / "built"
    build_index(IndexConfig(space["end"], space["corpus"], out), signer=SIGNER)
    return out


@pytest.fixture
def index(built):
    """A copy that may be changed."""
    copy = built.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(built, copy)
    return copy


def check(folder, key=None):
    """Verify without computing rows again."""
    return verify_index(folder, sample=0, key=key)


def test_a_build_a_removal_and_a_compaction_are_signed(index):
    """Every manifest and every record is by the key that made it."""
    assert check(index, SIGNER.public_hex)["signed_by"] == SIGNER.public_hex
    remove_documents(index, Removal(documents=("d0-001",)), signer=SIGNER)
    report = check(index, SIGNER.public_hex)
    assert (report["removals"], report["removals_signed"]) == (1, 1)
    compact(index, signer=SIGNER)
    assert check(index, SIGNER.public_hex)["removals"] == 1
    remove_documents(index, Removal(documents=("d0-002",)), signer=SIGNER)
    assert sorted(p.name for p in (index / "removals").glob("*.json")) == [
        "000001.json",
        "000002.json",
    ]


def test_a_change_without_the_key_is_seen(index):
    """An index that somebody changed without the key is whole but not signed."""
    remove_documents(index, Removal(documents=("d0-001",)))
    assert check(index)["signed_by"] is None
    with pytest.raises(IndexSignatureError, match="is not signed, a signature by"):
        check(index, SIGNER.public_hex)


def test_another_key_is_refused(index):
    """Whoever signs with another key is named beside the one expected."""
    with pytest.raises(IndexSignatureError, match="made by somebody else"):
        check(index, OTHER.public_hex)


def test_an_altered_record_of_a_removal_is_found(index):
    """A record says who asked for what; changing it breaks its signature."""
    remove_documents(index, Removal(documents=("d0-001",), reason="asked"), signer=SIGNER)
    record = index / "removals" / "000001.json"
    data = record.read_bytes()
    record.write_bytes(data.replace(b'"asked"', b'"erred"'))
    with pytest.raises(IndexSignatureError, match=r"000001\.sig: the signature .* altered"):
        check(index)
    record.unlink()
    with pytest.raises(IndexDamagedError, match=r"000001\.json is missing"):
        check(index)


def test_a_record_of_another_index_is_found(index, built):
    """A record that removed what the index still scores does not belong to it."""
    remove_documents(index, Removal(documents=("d0-001",)))
    (index / "removals" / "000001.json").write_text('{"documents":["d0-002"]}')
    with pytest.raises(IndexDamagedError, match="d0-002 was removed, yet the index scores it"):
        check(index)


def test_a_damaged_signature_is_named(index):
    """A signature file that cannot be read proves nothing."""
    path = next((index / "signatures").iterdir())
    path.write_text("{}")
    with pytest.raises(IndexSignatureError, match="is not a signature"):
        check(index)


def test_a_record_cannot_stand_in_for_a_manifest(tmp_path):
    """The kind is part of what is signed."""
    text = SIGNER(REMOVAL, b"x")
    assert check_signature(REMOVAL, tmp_path, b"x", text) == SIGNER.public_hex
    with pytest.raises(IndexSignatureError, match="is not of this manifest"):
        check_signature(MANIFEST, tmp_path, b"x", text)


def test_keys_come_as_pem_bytes_or_files(tmp_path):
    """What is no Ed25519 key is refused with the way to make one."""
    (tmp_path / "k.pem").write_bytes(pem(SIGNER.key))
    assert KeySigner.from_pem(tmp_path / "k.pem").public_hex == SIGNER.public_hex
    public = SIGNER.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert public_key(public) == SIGNER.public_hex == public_key(SIGNER.public_hex)
    for wrong in (b"nothing", pem(elliptic(SECP256R1()))):
        with pytest.raises(GradientIndexError, match="openssl genpkey"):
            KeySigner.from_pem(wrong)
    with pytest.raises(GradientIndexError, match="public key"):
        public_key(b"nothing")


def test_a_signature_is_there_before_its_manifest(index, monkeypatch):
    """A kill between the two leaves the old manifest with its own signature."""
    from attribution import index_manifest

    before = GradientIndex.open(index).manifest.sha256
    real = index_manifest.write_atomically

    def die(path, data):
        if path.name == "manifest.json":
            raise KeyboardInterrupt
        real(path, data)

    monkeypatch.setattr(index_manifest, "write_atomically", die)
    with pytest.raises(KeyboardInterrupt):
        remove_documents(index, Removal(documents=("d0-001",)), signer=SIGNER)
    monkeypatch.undo()
    report = check(index, SIGNER.public_hex)
    assert (report["manifest"], report["removals"]) == (before, 0)
    remove_documents(index, Removal(documents=("d0-001",)), signer=SIGNER)
    assert check(index, SIGNER.public_hex)["removals_signed"] == 1
