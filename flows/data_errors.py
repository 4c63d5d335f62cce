"""Errors of the data path (logs, outputs, sample, estimates); the tree hangs below FlowError.

Kept beside `flows/errors.py` because they are many; the command line catches FlowError only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.errors import FlowError


class ArtefactError(FlowError):
    """A file of the workspace is missing, altered, or not what its manifest says."""


class ArtefactMissingError(ArtefactError):
    """A step was asked to read what an earlier step has not written."""

    def __init__(self, path: str, step: str) -> None:
        self.path = path
        self.step = step
        super().__init__(f"{path} does not exist; {step} writes it. Run that step first")


class ArtefactAlteredError(ArtefactError):
    """A file's bytes are not those its manifest was written for."""

    def __init__(self, path: str, expected: str, found: str) -> None:
        self.path = path
        self.expected = expected
        self.found = found
        super().__init__(
            f"{path} has sha256 {found}, but its manifest says {expected}: the file was "
            f"altered or truncated after it was written. Delete it and its manifest and give the "
            f"same command again; nothing was read from it"
        )


class ArtefactFormatError(ArtefactError):
    """A manifest is of another format or version than the step understands."""

    def __init__(self, path: str, expected: str, found: object) -> None:
        self.path = path
        self.expected = expected
        self.found = found
        super().__init__(
            f"{path} has format {found!r}, expected {expected!r}; "
            f"it was written by another version or is another artefact. Nothing was read from it"
        )


class QuarantineAlteredError(ArtefactFormatError):
    """A date's quarantine was altered, or written by another version."""

    def __init__(self, path: str, line: int, found: str) -> None:
        super().__init__(f"{path}, line {line}", "byline-quarantine/1", found)
        date = Path(path).name.removesuffix(".jsonl")
        text = (
            f"{path}, line {line} is {found}, expected a line of byline-quarantine/1: the file was "
            f"altered or truncated after it was written, or comes from another version. Move it "
            f"away and run `byline nightly --date {date}` with all logs of the date: the same "
            f"rejects are written again. Nothing was read from it"
        )
        self.args = (text,)


class LogError(FlowError):
    """Log files cannot be read as asked."""


class LogFormatUnknownError(LogError):
    """No adapter recognises the first records of a log file."""

    def __init__(self, path: str, known: tuple[str, ...], example: str) -> None:
        self.path = path
        self.known = known
        super().__init__(
            f"{path}: no log format recognised in its first records (line 1 begins {example!r}); "
            f"known formats: {', '.join(known)}. Name the format, or give a field map for plain "
            f"JSONL; nothing was ingested"
        )


class LogMissingError(LogError):
    """A path, folder or glob names no log file."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"no log file found at {path}; nothing was ingested")


class SampleError(FlowError):
    """A sample cannot be drawn or a draw cannot be checked."""


class EstimationError(FlowError):
    """Influence, sample and catalogue do not fit together, so nobody can be credited."""


class AppealError(FlowError):
    """A filter's decision cannot be taken back as asked."""


class RevisionError(FlowError):
    """A revised record cannot be accepted as asked."""


class ReconciliationError(FlowError):
    """Our counts and the gateway's totals differ by more than the settings allow.

    Args:
        text: both sides and the gap.
        found: the comparison (`flows.reconciliation.Reconciliation`).
    """

    def __init__(self, text: str, found: Any) -> None:
        self.found = found
        super().__init__(text)
