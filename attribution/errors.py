"""Every error attribution raises on purpose. Bugs are assertions and are not listed here.

Each text says what was asked, where, both values where two disagree, the consequence and
the next step. A caller that wants one net catches `AttributionError`.
"""

from __future__ import annotations


class AttributionError(Exception):
    """A caller asked for something that cannot be attributed honestly."""


class CorpusError(AttributionError):
    """A corpus or query file cannot be read: the text names the file and the line."""


class ModelError(AttributionError):
    """A model folder is incomplete, or does not fit the text it is asked to read."""


class TrainingError(AttributionError):
    """A training run was asked for that cannot be made, or did not converge to numbers."""


class IndexError_(AttributionError):  # noqa: N801, N818 - the builtin keeps its name.
    """A gradient index cannot be built, opened or trusted."""


class IndexLockedError(IndexError_):
    """Another process is building or changing the same index folder."""


class IndexIncompleteError(IndexError_):
    """The folder holds a build that has not finished: it must never be scored."""


class IndexDamagedError(IndexError_):
    """A file of the index is missing, torn or altered."""


class IndexMismatchError(IndexError_):
    """The index was made from another model, tokenizer, corpus or recipe than the one given."""


class ScoringError(AttributionError):
    """Scores cannot be computed from what was given."""
