"""The Merkle tree of RFC 6962 over the leaves of the book.

1. A leaf hash is SHA-256(0x00 || leaf), a node is SHA-256(0x01 || left || right); the root of
   the empty tree is SHA-256 of nothing. The left side of a node is always the largest full
   power of two.
2. Appending a leaf needs only the frontier: the roots of the full subtrees from the right edge
   up, at most one for each bit of the size.
3. A proof is checked from its own hashes alone. A check returns nothing or raises; a proof that
   is too long, too short or out of range is refused, never completed.

Indexes are 0-based; `ledger_seq` of a leaf is its index + 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from ledger.audit_errors import ProofError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
FRONTIER_FORMAT = "byline-frontier/1"

# node(level, index) -> the hash of the full subtree over leaves [index << level, ...).
NodeSource = Callable[[int, int], bytes]


def leaf_hash(leaf: bytes) -> bytes:
    """Return the RFC 6962 hash of one leaf."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the RFC 6962 hash of two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """A growing tree of which only the right edge is kept: O(log n) memory and append.

    >>> frontier = Frontier()
    >>> frontier.append(b"first")
    >>> frontier.size
    1
    """

    def __init__(self) -> None:
        self._peaks: list[bytes | None] = []
        self._size = 0

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self._size

    def append(self, leaf: bytes) -> None:
        """Append one leaf, given as its bytes."""
        self.extend([leaf_hash(leaf)])

    def extend(self, leaf_hashes: Sequence[bytes]) -> None:
        """Append many leaves at once, given as their hashes; faster than one by one."""
        nodes = list(leaf_hashes)
        self._size += len(nodes)
        sha256 = hashlib.sha256
        level = 0
        while nodes:
            if level == len(self._peaks):
                self._peaks.append(None)
            pending = self._peaks[level]
            if pending is not None:
                nodes.insert(0, pending)
            self._peaks[level] = nodes.pop() if len(nodes) % 2 else None
            nodes = [
                sha256(b"\x01" + left + right).digest()
                for left, right in zip(nodes[::2], nodes[1::2], strict=True)
            ]
            level += 1

    def root(self) -> bytes:
        """Return the root over all leaves appended so far."""
        root: bytes | None = None
        for peak in self._peaks:
            if peak is not None:
                root = peak if root is None else node_hash(peak, root)
        return EMPTY_ROOT if root is None else root

    def copy(self) -> Frontier:
        """Return an independent copy, to try an append on."""
        twin = Frontier()
        twin._peaks = list(self._peaks)
        twin._size = self._size
        return twin

    def serialise(self) -> str:
        """Write the frontier as text: format, size, then one hash in hex a line, smallest first."""
        peaks = [peak.hex() for peak in self._peaks if peak is not None]
        return "\n".join([FRONTIER_FORMAT, str(self._size), *peaks]) + "\n"

    @classmethod
    def parse(cls, text: str) -> Frontier:
        """Read what `serialise` wrote.

        Raises:
            ProofError: it is another format, or the hashes do not fit the size.
        """
        lines = text.split("\n")
        if lines[0] != FRONTIER_FORMAT or lines[-1] != "" or not lines[1].isdecimal():
            raise ProofError(
                f"a frontier starts with {FRONTIER_FORMAT} and a size, got {text[:60]!r}; "
                "rebuild it from the leaves"
            )
        frontier = cls()
        frontier._size = int(lines[1])
        hashes = [bytes.fromhex(line) for line in lines[2:-1]]
        if len(hashes) != frontier._size.bit_count() or any(len(h) != HASH_BYTES for h in hashes):
            raise ProofError(
                f"a frontier of {frontier._size} leaves has {frontier._size.bit_count()} hashes of "
                f"32 bytes, got {len(hashes)}; rebuild it from the leaves"
            )
        for level in range(frontier._size.bit_length()):
            frontier._peaks.append(hashes.pop(0) if frontier._size >> level & 1 else None)
        return frontier


class MerkleTree:
    """A tree that keeps every full node, so that any proof for any earlier size can be made.

    64 bytes a leaf. Build it from leaf hashes; it grows by `extend`.
    """

    def __init__(self, leaf_hashes: Iterable[bytes] = ()) -> None:
        self._levels: list[bytearray] = [bytearray()]
        self.extend(leaf_hashes)

    @property
    def size(self) -> int:
        """The number of leaves."""
        return len(self._levels[0]) // HASH_BYTES

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Append leaves, given as their hashes."""
        self._levels[0] += b"".join(leaf_hashes)
        sha256 = hashlib.sha256
        level = 0
        while len(self._levels[level]) >= 2 * HASH_BYTES:
            if level + 1 == len(self._levels):
                self._levels.append(bytearray())
            below, above = self._levels[level], self._levels[level + 1]
            full = len(below) // (2 * HASH_BYTES) * 2 * HASH_BYTES
            above += b"".join(
                sha256(b"\x01" + below[start : start + 64]).digest()
                for start in range(2 * len(above), full, 64)
            )
            level += 1

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of one full subtree; a `NodeSource`."""
        start = index * HASH_BYTES
        assert start + HASH_BYTES <= len(self._levels[level]), (level, index, self.size)
        return bytes(self._levels[level][start : start + HASH_BYTES])

    def root(self, size: int | None = None) -> bytes:
        """Return the root over the first `size` leaves (all of them when not given)."""
        return root_at(self.node, self.size if size is None else size)


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaves given as their bytes, in O(log n) memory."""
    frontier = Frontier()
    batch: list[bytes] = []
    for leaf in leaves:
        batch.append(leaf_hash(leaf))
        if len(batch) == 4096:
            frontier.extend(batch)
            batch = []
    frontier.extend(batch)
    return frontier.root()


def root_at(nodes: NodeSource, size: int) -> bytes:
    """Return the root over the first `size` leaves, from full nodes."""
    return _range_root(nodes, 0, size) if size else EMPTY_ROOT


def _split(count: int) -> int:
    """Return the largest power of two below count (count > 1)."""
    return 1 << (count - 1).bit_length() - 1


def _range_root(nodes: NodeSource, start: int, end: int) -> bytes:
    count = end - start
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        assert start % count == 0, (start, end)
        return nodes(level, start >> level)
    middle = start + _split(count)
    return node_hash(_range_root(nodes, start, middle), _range_root(nodes, middle, end))


def inclusion_proof(nodes: NodeSource, index: int, size: int) -> list[bytes]:
    """Prove that the leaf at an index is under the root of the first `size` leaves.

    Args:
        nodes: full nodes, such as `MerkleTree.node`.
        index: 0-based.
        size: the size of the tree that the proof is for.

    Returns:
        The sibling hashes from the leaf up, as in RFC 6962 section 2.1.1.

    Raises:
        ProofError: the index is not in the tree.
    """
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size} leaves; nothing can be proved")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_range_root(nodes, middle, end))
            end = middle
        else:
            proof.append(_range_root(nodes, start, middle))
            start = middle
    return proof[::-1]


def consistency_proof(nodes: NodeSource, old_size: int, new_size: int) -> list[bytes]:
    """Prove that the tree of `old_size` leaves is the beginning of the tree of `new_size`.

    Args:
        nodes: full nodes of the new tree.
        old_size: from 0; the proof from the empty tree is empty.
        new_size: at least old_size; the proof between equal sizes is empty.

    Returns:
        The hashes of RFC 6962 section 2.1.2.

    Raises:
        ProofError: the sizes are not in order.
    """
    if not 0 <= old_size <= new_size:
        raise ProofError(f"a tree of {new_size} leaves cannot continue one of {old_size}")
    if old_size in {0, new_size}:
        return []
    proof: list[bytes] = []
    start, end, known = 0, new_size, True
    while old_size - start != end - start:
        middle = start + _split(end - start)
        if old_size <= middle:
            proof.append(_range_root(nodes, middle, end))
            end = middle
        else:
            proof.append(_range_root(nodes, start, middle))
            start, known = middle, False
    if not known:
        proof.append(_range_root(nodes, start, end))
    return proof[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check an inclusion proof; returns nothing when it holds (RFC 9162 section 2.1.3.2).

    Args:
        leaf: the hash of the leaf.
        index: where the leaf should be, 0-based.
        size: the size of the tree.
        proof: sibling hashes from the leaf up.
        root: the root that it must lead to.

    Raises:
        ProofError: it does not.
    """
    if not 0 <= index < size:
        raise ProofError(
            f"leaf {index} is not in a tree of {size} leaves; the proof proves nothing"
        )
    first, last = index, size - 1
    current = leaf
    for sibling in proof:
        if last == 0 or len(sibling) != HASH_BYTES:
            raise ProofError(
                f"the inclusion proof of leaf {index} in {size} leaves has {len(proof)} hashes, "
                "one of them too many or not of 32 bytes; it proves nothing"
            )
        if first & 1 or first == last:
            current = node_hash(sibling, current)
            while not first & 1 and first:
                first >>= 1
                last >>= 1
        else:
            current = node_hash(current, sibling)
        first >>= 1
        last >>= 1
    if last != 0 or current != root:
        raise ProofError(
            f"leaf {index} is not under the root of {size} leaves: the proof leads to "
            f"{current.hex()}, the root is {root.hex()}; the entry or the proof was changed"
        )


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that one tree continues another; returns nothing when it does.

    Args:
        old_size: the size of the earlier tree.
        old_root: its root.
        new_size: the size of the later tree.
        new_root: its root.
        proof: the hashes of RFC 6962 section 2.1.2 (checked as in RFC 9162 section 2.1.4.2).

    Raises:
        ProofError: it does not, with both roots.
    """
    story = f"the tree of {new_size} leaves does not continue the tree of {old_size} leaves"
    if not 0 <= old_size <= new_size:
        raise ProofError(f"{story}: it is smaller; leaves were taken away")
    if old_size in {0, new_size}:
        same = EMPTY_ROOT if old_size == 0 else new_root
        if old_root != same or proof:
            raise ProofError(
                f"{story}: the roots are {old_root.hex()} and {same.hex()} with {len(proof)} "
                "hashes between them, expected equal roots and none"
            )
        return
    old, new = _roots_of_consistency(old_size, old_root, new_size, proof, story)
    if old != old_root or new != new_root:
        raise ProofError(
            f"{story}: the proof leads to {old.hex()} and {new.hex()}, the roots are "
            f"{old_root.hex()} and {new_root.hex()}; the book was rewritten or the proof is wrong"
        )


def _roots_of_consistency(
    old_size: int, old_root: bytes, new_size: int, proof: Sequence[bytes], story: str
) -> tuple[bytes, bytes]:
    """Return the old and the new root that a proof leads to (RFC 9162 section 2.1.4.2)."""
    path = list(proof)
    if not path or any(len(part) != HASH_BYTES for part in path):
        raise ProofError(f"{story}: the proof is empty or has hashes that are not of 32 bytes")
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    first, last = old_size - 1, new_size - 1
    while first & 1:
        first >>= 1
        last >>= 1
    old = new = path[0]
    for part in path[1:]:
        if last == 0:
            break
        if first & 1 or first == last:
            old, new = node_hash(part, old), node_hash(part, new)
            while not first & 1 and first:
                first >>= 1
                last >>= 1
        else:
            new = node_hash(new, part)
        first >>= 1
        last >>= 1
    else:
        if last == 0:
            return old, new
    raise ProofError(f"{story}: the proof has {len(proof)} hashes, which is not their number")
