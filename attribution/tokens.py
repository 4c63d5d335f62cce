"""Token ids of documents and of outputs, by rules that training and scoring share.

1. A document is `bos text eos`, where the tokenizer has such tokens. A document
   that comes with `input_ids` is taken as it is.
2. An output is `bos prompt output`; `prompt_length` counts bos and the prompt,
   and only the tokens after it are scored. Prompt and output are encoded apart
   and joined, so that no token straddles the border.
3. The first token of a row is never scored: nothing stands before it.
4. A row longer than the context is cut into windows of the context's length.
   Each window after the first repeats the last quarter of a context as lead-in,
   which is read but not scored again: every token is scored exactly once.
5. A row with fewer than two tokens, or a document without text, has nothing to
   score; it is kept and counted.
"""

from __future__ import annotations

import copy
import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from attribution.corpus import Document, Query
from attribution.errors import TokenizerMismatchError
from attribution.files import ScratchFile

_ID_BYTES = array("I").itemsize
_HELD_IDS = 1 << 16


@dataclass(frozen=True)
class Encoded:
    """Token ids of one row, and how many leading tokens are not scored.

    Attributes:
        input_ids: the tokens of the row.
        prompt_length: leading tokens that are read but not scored; at least 1
            in every row that has a token.
    """

    input_ids: tuple[int, ...]
    prompt_length: int

    @property
    def scored(self) -> int:
        """How many tokens of the row are scored."""
        return max(0, len(self.input_ids) - self.prompt_length)

    @property
    def key(self) -> int:
        """A number below 2^64 that is the row's own: of what it says, not of where it stands."""
        said = f"{self.prompt_length} {self.input_ids}".encode()
        return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "little")


class EncodedRows(Sequence[Encoded]):
    """Many rows whose tokens are in a file without a name: twenty bytes a row stay in memory.

    A part is a view of the same file. Rows are read one at a time and not mapped: mapped
    pages would count as this process's memory.
    """

    def __init__(self, rows: Iterable[Encoded], scratch: Path | None = None) -> None:
        """Write the rows to a file that ends with the process.

        Args:
            rows: read once.
            scratch: folder of the file; the system's temporary folder when left out.
        """
        self._file = ScratchFile(scratch)
        ends, prompts, held = array("Q", [0]), array("I"), array("I")
        for row in rows:
            held.extend(row.input_ids)
            ends.append(ends[-1] + len(row.input_ids))
            prompts.append(row.prompt_length)
            if len(held) >= _HELD_IDS:
                self._file.append(held.tobytes())
                held = array("I")
        self._file.append(held.tobytes())
        bounds = np.frombuffer(ends, dtype=np.uint64).astype(np.int64)
        self._begins, self._ends = bounds[:-1], bounds[1:]
        self._prompts = np.frombuffer(prompts, dtype=np.uint32)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, [N], int64."""
        return self._ends - self._begins

    @property
    def prompt_lengths(self) -> np.ndarray:
        """Leading tokens of each row that are not scored, [N], int64."""
        return self._prompts.astype(np.int64)

    def picked(self, places: Sequence[int] | slice) -> EncodedRows:
        """Return some of the rows, in the order of their places, as a view."""
        where: Any = places if isinstance(places, slice) else np.asarray(places, dtype=np.int64)
        view = copy.copy(self)
        vars(view).update(
            _begins=self._begins[where], _ends=self._ends[where], _prompts=self._prompts[where]
        )
        return view

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self._prompts)

    @overload
    def __getitem__(self, place: int) -> Encoded: ...

    @overload
    def __getitem__(self, place: slice) -> EncodedRows: ...

    def __getitem__(self, place: int | slice) -> Encoded | EncodedRows:
        """Return one row, or some of them as a view."""
        if isinstance(place, slice):
            return self.picked(place)
        begin, end = int(self._begins[place]), int(self._ends[place])
        ids = array("I", self._file.read(_ID_BYTES * begin, _ID_BYTES * (end - begin)))
        return Encoded(tuple(ids), int(self._prompts[place]))


def pick(encoded: Sequence[Encoded], places: Sequence[int]) -> Sequence[Encoded]:
    """Return some rows, in the order of their places; a view where the rows are in a file."""
    if isinstance(encoded, EncodedRows):
        return encoded.picked(places)
    return [encoded[place] for place in places]


def lengths_of(encoded: Sequence[Encoded]) -> tuple[np.ndarray, np.ndarray]:
    """Return the length and the prompt length of each row, [N] each, int64."""
    if isinstance(encoded, EncodedRows):
        return encoded.lengths, encoded.prompt_lengths
    pairs = [(len(row.input_ids), row.prompt_length) for row in encoded]
    both = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def encode_document(document: Document, tokenizer: Any | None) -> Encoded:
    """Encode one document as training reads it (rules 1 and 3).

    Args:
        document: with text or input_ids.
        tokenizer: a transformers tokenizer; needed only where there is no input_ids.

    Raises:
        TokenizerMismatchError: there is only text, and no tokenizer to read it.
    """
    if document.input_ids is not None:
        return Encoded(document.input_ids, 1)
    if tokenizer is None:
        raise TokenizerMismatchError(
            f"document {document.document_id} has text only and the model has no tokenizer; "
            f"give input_ids or put the tokenizer's files into the model folder"
        )
    assert document.text is not None, document.document_id
    text = _text_ids(document.text, tokenizer)
    return Encoded((*_bos(tokenizer), *text, *_eos(tokenizer)) if text else (), 1)


def encode_output(prompt: str | None, output: str, tokenizer: Any) -> Encoded:
    """Encode a logged output after its prompt (rule 2)."""
    head = (*_bos(tokenizer), *(_text_ids(prompt, tokenizer) if prompt else ()))
    return Encoded((*head, *_text_ids(output, tokenizer)), max(1, len(head)))


def encode_query(query: Query, tokenizer: Any | None) -> Encoded:
    """Encode one line of a query file; a prompt_length left out counts as 1."""
    if query.input_ids is not None:
        return Encoded(query.input_ids, max(1, query.prompt_length or 1))
    if tokenizer is None:
        raise TokenizerMismatchError(
            f"query {query.output_id} has text only and the model has no tokenizer; "
            f"give input_ids or put the tokenizer's files into the model folder"
        )
    assert query.text is not None, query.output_id
    ids = (*_bos(tokenizer), *_text_ids(query.text, tokenizer))
    given = query.prompt_length
    # A stated prompt_length counts tokens of the text; bos stands before them.
    length = len(_bos(tokenizer)) + given if given is not None else 1
    return Encoded(ids, min(max(1, length), max(1, len(ids))))


def windows(row: Encoded, context: int) -> list[Encoded]:
    """Cut a row into windows that fit the context (rule 4).

    Args:
        row: any length.
        context: the most tokens the model reads at once; at least 4.

    Returns:
        One or more windows; the scored tokens of all windows together are the
        scored tokens of the row, each once. Windows with nothing to score are
        left out; a row with nothing to score gives none.
    """
    ids = row.input_ids
    return [
        Encoded(ids[begin:end], prompt)
        for begin, end, prompt in cuts(len(ids), row.prompt_length, context)
    ]


def cuts(length: int, prompt_length: int, context: int) -> Iterator[tuple[int, int, int]]:
    """Yield (begin, end, prompt length) of each window of a row: what `windows` cuts out."""
    assert context >= 4, context
    lead = context // 4
    first_scored = prompt_length
    while first_scored < length:
        begin = 0 if first_scored < context else max(0, first_scored - lead)
        end = min(begin + context, length)
        yield begin, end, first_scored - begin
        first_scored = end


def unscorable(encoded: Sequence[Encoded]) -> list[int]:
    """Return the positions of rows with nothing to score (rule 5)."""
    return [position for position, row in enumerate(encoded) if row.scored == 0]


def check_ids(encoded: Sequence[Encoded], names: Sequence[str], vocab_size: int) -> None:
    """Refuse token ids that the model has no row for.

    Raises:
        TokenizerMismatchError: names the first row with an id outside the vocabulary.
    """
    for row, name in zip(encoded, names, strict=True):
        top = max(row.input_ids, default=0)
        if top >= vocab_size:
            raise TokenizerMismatchError(
                f"{name} holds token id {top} but the model knows ids below {vocab_size}; "
                f"the ids come from another tokenizer and every score would be noise. "
                f"Use the model this corpus was encoded for, or give text"
            )


def check_agreement(documents: Sequence[Document], tokenizer: Any, *, checked: int = 64) -> None:
    """Compare the given token ids with the tokenizer, where a document has both.

    Args:
        documents: only those with both `text` and `input_ids` are looked at.
        tokenizer: the tokenizer in the model folder.
        checked: at most this many documents, evenly spread.

    Raises:
        TokenizerMismatchError: names the first document whose ids decode to a
            text that its own text does not contain.
    """
    both = array("Q", (i for i, row in enumerate(documents) if row.text and row.input_ids))
    step = max(1, len(both) // checked)
    special = set(tokenizer.all_special_ids)
    for document in (documents[i] for i in both[::step]):
        assert document.input_ids is not None
        assert document.text is not None
        ids = [token for token in document.input_ids if token not in special]
        decoded = _squeezed(tokenizer.decode(ids))
        # A cut text ends inside a character now and then: its last bytes decode to U+FFFD.
        if decoded.strip("\ufffd") not in _squeezed(document.text):
            raise TokenizerMismatchError(
                f"document {document.document_id}: its input_ids decode to "
                f"{decoded[:40]!r} but its text begins {document.text[:40]!r}; the corpus was "
                f"encoded with another tokenizer and every score would be noise"
            )


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _text_ids(text: str, tokenizer: Any) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _bos(tokenizer: Any) -> tuple[int, ...]:
    return () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)


def _eos(tokenizer: Any) -> tuple[int, ...]:
    return () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
