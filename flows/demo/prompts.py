"""Prompts of the demo: openings of held-back passages, as its customers might begin a text.

A prompt is the first words of a sentence or two that the model was never trained
on. Each passage gives as many prompts as it has sentences long enough; passages
take turns, so that the prompts spread over all packages before one comes again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from attribution.corpus import Document

WORDS_MIN = 5
WORDS_MAX = 9


def openings(passages: Sequence[Document], *, seed: int) -> list[str]:
    """Return all prompts that the passages give, each once, in a drawn order of turns.

    Args:
        passages: with text; lines are paragraphs, sentences end as usual.
        seed: draws the order of the passages.

    Returns:
        Prompts of WORDS_MIN to WORDS_MAX words, no two alike.
    """
    drawn = sorted(
        passages,
        key=lambda row: hashlib.sha256(f"{seed}:{row.document_id}".encode()).digest(),
    )
    by_passage = [_of_one(document.text or "") for document in drawn]
    turns = max((len(prompts) for prompts in by_passage), default=0)
    in_turn = [
        prompts[turn] for turn in range(turns) for prompts in by_passage if turn < len(prompts)
    ]
    return list(dict.fromkeys(in_turn))


def _of_one(text: str) -> list[str]:
    """Return the openings of one passage, in order, of lengths that vary with the place."""
    prompts = []
    for line in text.splitlines():
        words = line.split()
        for start in range(0, len(words), 3 * WORDS_MAX):
            length = WORDS_MIN + (start + len(words)) % (WORDS_MAX - WORDS_MIN + 1)
            # What is left of the line must go on after the prompt.
            if len(words) - start > length:
                prompts.append(" ".join(words[start : start + length]))
    return prompts
