"""What could not be read: kept with its reason, its place and its own words, never dropped.

`quarantine/DATE.jsonl` has one line per reject: file, line, reason, detail, sha256 of the raw line
and the raw line itself (as text; bytes that are not UTF-8 as backslash escapes). A line whose own
date cannot be read belongs to the date of the nearest readable record before it in its file, else
after it. The file is rewritten whole by every ingest of its date, so it never counts a line twice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

from flows.artefacts import atomic_path, canonical_json, sha256_bytes
from flows.data_errors import QuarantineAlteredError

QUARANTINE_FORMAT = "byline-quarantine/1"


@dataclass(frozen=True)
class Reject:
    """One raw record that is not in the outputs, and why.

    Args:
        source_file: label of the log file.
        source_line: 1-based line, or row of a parquet file.
        reason: a fixed word, counted in the manifest.
        detail: what was expected and what was found.
        raw_sha256: digest of the raw line.
        raw: the raw line.
    """

    source_file: str
    source_line: int
    reason: str
    detail: str
    raw_sha256: str
    raw: str

    @classmethod
    def of(cls, source_file: str, source_line: int, reason: str, detail: str, raw: bytes) -> Reject:
        """Make a reject from the raw bytes."""
        text = raw.decode("utf-8", errors="backslashreplace")
        return cls(source_file, source_line, reason, detail, sha256_bytes(raw), text)


class RejectSpool:
    """Rejects on their way to a quarantine: on the disk, since a log may be nothing but rejects.

    Args:
        path: a file of its own, made anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reasons: Counter[str] = Counter()
        path.write_bytes(b"")
        self._file = path.open("ab")

    def add(self, reject: Reject, day: int | None = None) -> None:
        """Take a reject, with the day its line names if it does."""
        self.reasons[reject.reason] += 1
        self._file.write(canonical_json([day, *astuple(reject)]))

    def dated(self) -> Iterator[tuple[int | None, Reject]]:
        """Walk over the rejects in the order they came, each with its day."""
        self._file.flush()
        with self.path.open("rb") as file:
            for line in file:
                day, *fields = json.loads(line)
                yield day, Reject(*fields)

    def __iter__(self) -> Iterator[Reject]:
        """Walk over the rejects in the order they came."""
        return (reject for _, reject in self.dated())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def reading_order(reject: Reject) -> tuple[str, int, str]:
    """Give what rejects are ordered by: file, line, reason."""
    return (reject.source_file, reject.source_line, reject.reason)


def write_quarantine(path: Path, rejects: Iterable[Reject]) -> dict[str, int]:
    """Write a date's rejects, one after the other, without holding them.

    Args:
        path: `quarantine/DATE.jsonl`.
        rejects: all of the date's rejects, in `reading_order`.

    Returns:
        How many there are of each reason, by reason.
    """
    counts: Counter[str] = Counter()
    last = ("", 0, "")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for reject in rejects:
            assert last <= reading_order(reject), (last, reading_order(reject))
            last = reading_order(reject)
            counts[reject.reason] += 1
            file.write(canonical_json({"format": QUARANTINE_FORMAT, **asdict(reject)}))
    return dict(sorted(counts.items()))


def read_quarantine(path: Path) -> Iterator[Reject]:
    """Walk over a date's rejects.

    Raises:
        QuarantineAlteredError: a line is not a reject.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                entry = json.loads(line)
                form = entry.pop("format")
                reject = Reject(**entry)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise QuarantineAlteredError(str(path), number, "no reject") from error
            if form != QUARANTINE_FORMAT:
                raise QuarantineAlteredError(str(path), number, f"of format {form!r}")
            yield reject
