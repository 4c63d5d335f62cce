"""The tree against the recursion of RFC 6962 written out, and every proof with every bit wrong."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.audit_errors import ProofError
from ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    MerkleTree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

SIZES = 256
LEAVES = [f"leaf {n}".encode() for n in range(SIZES)]
TREE = MerkleTree(leaf_hash(leaf) for leaf in LEAVES)
ROOTS = [TREE.root(size) for size in range(SIZES + 1)]


def slow_root(leaves):
    """MTH of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + slow_root(leaves[:k]) + slow_root(leaves[k:])).digest()


def slow_path(m, leaves):
    """PATH of RFC 6962 section 2.1.1, word for word."""
    if len(leaves) == 1:
        return []
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if m < k:
        return [*slow_path(m, leaves[:k]), slow_root(leaves[k:])]
    return [*slow_path(m - k, leaves[k:]), slow_root(leaves[:k])]


def slow_subproof(m, leaves, whole):
    """SUBPROOF of RFC 6962 section 2.1.2, word for word."""
    if m == len(leaves):
        return [] if whole else [slow_root(leaves)]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if m <= k:
        return [*slow_subproof(m, leaves[:k], whole), slow_root(leaves[k:])]
    return [*slow_subproof(m - k, leaves[k:], False), slow_root(leaves[:k])]


def flipped(value, bit):
    """Return the bytes with one bit changed."""
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def refused(check, *arguments):
    """Say whether a check raises; half a million of these are quicker without pytest.raises."""
    try:
        check(*arguments)
    except ProofError:
        return True
    return False


def test_known_roots_of_certificate_transparency():
    """The roots that the Certificate Transparency test vectors publish for their eight leaves."""
    leaves = [bytes.fromhex(h) for h in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )]  # fmt: skip
    assert root_of(leaves[:1]).hex() == (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    )
    assert root_of(leaves).hex() == (
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    )
    assert root_of([]) == EMPTY_ROOT


def test_every_size_has_the_root_of_the_recursion():
    """The frontier, the stored tree and the RFC's recursion agree for every size to 256."""
    frontier = Frontier()
    for size in range(SIZES + 1):
        expected = slow_root(LEAVES[:size])
        assert frontier.root() == ROOTS[size] == root_of(LEAVES[:size]) == expected
        assert Frontier.parse(frontier.serialise()).root() == expected
        if size < SIZES:
            frontier.append(LEAVES[size])


@given(st.lists(st.integers(0, 70), max_size=12))
def test_batches_do_not_change_the_tree(batches):
    """Leaves appended in batches of any size give the root of leaves appended one by one."""
    frontier, tree, total = Frontier(), MerkleTree(), 0
    for count in batches:
        hashes = [leaf_hash(LEAVES[n % SIZES]) for n in range(total, total + count)]
        frontier.extend(hashes)
        tree.extend(hashes)
        total += count
        assert frontier.size == tree.size == total
    assert frontier.root() == tree.root() == root_of(LEAVES[n % SIZES] for n in range(total))


def test_proofs_are_those_of_the_recursion():
    """The fast proofs are the RFC's proofs, hash by hash."""
    for size in [*range(1, 20), 31, 32, 33, 100]:
        for index in range(size):
            assert inclusion_proof(TREE.node, index, size) == slow_path(index, LEAVES[:size])
        for old in range(1, size + 1):
            expected = slow_subproof(old, LEAVES[:size], True)
            assert consistency_proof(TREE.node, old, size) == expected


def test_every_inclusion_proof_holds_and_every_mutant_fails():
    """For all sizes to 256: the proof holds; a wrong bit in leaf, root or any hash does not."""
    for size in range(1, SIZES + 1):
        for index in range(size):
            proof = inclusion_proof(TREE.node, index, size)
            leaf, root = TREE.node(0, index), ROOTS[size]
            verify_inclusion(leaf, index, size, proof, root)
            bit = (size * 31 + index * 7) % 256
            wrong = [(flipped(leaf, bit), proof, root), (leaf, proof, flipped(root, bit))]
            for n, part in enumerate(proof):
                wrong.append((leaf, [*proof[:n], flipped(part, bit), *proof[n + 1 :]], root))
            wrong += [(leaf, proof[:-1], root), (leaf, [*proof, root], root)] if proof else []
            for mutant in wrong:
                assert refused(verify_inclusion, mutant[0], index, size, mutant[1], mutant[2])


def test_every_consistency_proof_holds_and_every_mutant_fails():
    """For all pairs of sizes to 256: the proof holds; a wrong bit in a root or hash does not."""
    for new in range(1, SIZES + 1):
        for old in range(1, new + 1):
            proof = consistency_proof(TREE.node, old, new)
            roots = ROOTS[old], ROOTS[new]
            verify_consistency(old, roots[0], new, roots[1], proof)
            bit = (new * 31 + old * 7) % 256
            wrong = [(flipped(roots[0], bit), roots[1], proof)]
            wrong.append((roots[0], flipped(roots[1], bit), proof))
            for n, part in enumerate(proof):
                wrong.append((*roots, [*proof[:n], flipped(part, bit), *proof[n + 1 :]]))
            wrong.append((*roots, [*proof, roots[0]]))
            wrong += [(*roots, proof[:-1])] if proof else []
            for mutant in wrong:
                assert refused(verify_consistency, old, mutant[0], new, mutant[1], mutant[2])


def test_a_proof_for_one_place_proves_no_other():
    """A leaf cannot be moved: its proof fails at every other index and size."""
    proof = inclusion_proof(TREE.node, 11, 100)
    for index in range(100):
        if index != 11:
            with pytest.raises(ProofError):
                verify_inclusion(TREE.node(0, 11), index, 100, proof, ROOTS[100])
    with pytest.raises(ProofError, match="not in a tree of 100 leaves"):
        verify_inclusion(TREE.node(0, 11), 100, 100, proof, ROOTS[100])


def test_every_tree_continues_the_empty_one_and_none_a_larger_one():
    """From size 0 nothing needs proving, but the empty root does; shrinking is refused."""
    verify_consistency(0, EMPTY_ROOT, 9, ROOTS[9], [])
    with pytest.raises(ProofError, match="expected equal roots"):
        verify_consistency(0, ROOTS[1], 9, ROOTS[9], [])
    with pytest.raises(ProofError, match="leaves were taken away"):
        verify_consistency(9, ROOTS[9], 8, ROOTS[8], [])
    with pytest.raises(ProofError, match="cannot continue"):
        consistency_proof(TREE.node, 9, 8)


@pytest.mark.parametrize(
    "text", ["", "byline-frontier/2\n0\n", "byline-frontier/1\n3\n" + "00" * 32 + "\n"]
)
def test_a_damaged_frontier_is_refused(text):
    """A saved frontier whose hashes do not fit its size would give a wrong root in silence."""
    with pytest.raises(ProofError):
        Frontier.parse(text)
