"""Every error the attribution room raises on purpose. Bugs are assertions, not listed here."""

from __future__ import annotations

from pathlib import Path


class AttributionError(Exception):
    """A caller asked for something attribution cannot do with what it was given."""


class CorpusError(AttributionError):
    """A corpus file breaks the interchange form; the text names the file and the line."""

    def __init__(self, path: Path | str, line: int, problem: str, remedy: str) -> None:
        self.path = str(path)
        self.line = line
        super().__init__(f"{path}:{line}: {problem}; nothing was read. {remedy}")


class ModelFolderError(AttributionError):
    """A model folder lacks a file or holds one that cannot be used."""

    def __init__(self, folder: Path | str, problem: str, remedy: str) -> None:
        self.folder = str(folder)
        super().__init__(f"model folder {folder} {problem}; {remedy}")


class TokenizerMismatchError(AttributionError):
    """Token ids and the tokenizer or model they are used with do not belong together."""


class RecipeError(AttributionError):
    """A training recipe is missing, damaged, or belongs to another corpus or model."""


class TrainingError(AttributionError):
    """A training configuration cannot be carried out."""


class GradientIndexError(AttributionError):
    """A gradient index cannot be built, opened, changed or trusted."""


class IndexLockedError(GradientIndexError):
    """Another process is building or changing the same index folder."""


class IndexIncompleteError(GradientIndexError):
    """The folder holds a build that has not finished; it is never scored."""


class IndexDamagedError(GradientIndexError):
    """A file of the index is missing, torn or altered."""


class IndexDiskFullError(GradientIndexError):
    """The disk has no room for what a build or a change writes; it can be gone on with."""


class IndexSignatureError(GradientIndexError):
    """A signature of an index is missing, damaged, by another key or of other bytes."""


class IndexMismatchError(GradientIndexError):
    """The index was made from another model, corpus or request than the one given."""


class ScoringError(AttributionError):
    """Scores cannot be computed from what was given."""


class DeviceError(AttributionError):
    """The card that was asked for is not on this machine, or is not one attribution knows."""


class DeviceMemoryError(DeviceError):
    """A card has no room for a batch beside the model."""
