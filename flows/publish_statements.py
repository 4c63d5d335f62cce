"""Issue statements: make them, refuse what does not foot, write them once, in several processes.

1. A statement is issued once. The same statement again is left as it is, so a run that was
   stopped goes on where it stopped; its JSON is written last.
2. A statement that would now read differently is refused, unless a reason is given; then it is
   issued as the next version, which names the one it replaces and the difference.
3. All statements of a period are made, and so all checked, before the first file is written.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows.publish_book import ProofParts
from reports.errors import StatementChangedError
from reports.files import write_report
from reports.statement import Statement, build_statement, plain
from reports.statement_document import LAYOUTS
from reports.statement_files import file_stem, statement_files
from reports.statement_inputs import ReplacedVersion, StatementInputs
from reports.statement_reader import read_statement

RECORD = "json"
# Below this many files a second process costs more than it saves.
POOL_FROM = 64
CHUNK = 16


@dataclass(frozen=True)
class Issued:
    """One statement as it was issued.

    Args:
        statement: what it says.
        files: its files, in the order of their names.
        written: False when everything was there.
    """

    statement: Statement
    files: tuple[Path, ...]
    written: bool


def formats_of(names: Iterable[str], layout: str) -> tuple[str, ...]:
    """Turn formats as a person names them, and a layout, into those of `statement_files`.

    The workbook, the JSON and the account table hold both layouts.

    >>> formats_of(["pdf", "json"], "detail")
    ('detail.pdf', 'json')
    """
    assert layout in LAYOUTS, layout
    prefix = "detail." if layout == "detail" else ""
    return tuple(f"{prefix}{n}" if n in {"pdf", "csv"} else n for n in names)


def versioned(folder: Path, inputs: StatementInputs, restate: str = "") -> Statement:
    """Make a statement in the version in which it was, or is to be, issued.

    Args:
        folder: where the period's statements lie.
        inputs: the first version's inputs.
        restate: why a changed statement is issued anew; empty refuses it.

    Raises:
        StatementChangedError: it was issued, would read differently, and no reason is given.
        StatementFileError: the file of the issued version was changed.
    """
    first = build_statement(inputs)
    path, version = _latest(folder, first)
    if path is None or (version == 1 and _carries(path, first.sha256)):
        return first
    issued = read_statement(path.read_bytes(), path.name)
    again = _as_version(inputs, version, issued.inputs.replaces)
    if again.sha256 == issued.sha256:
        return again
    if not restate:
        place, before, now = next(_differences(plain(issued.inputs), plain(again.inputs), "inputs"))
        period = inputs.header.period
        raise StatementChangedError(first.number, period, version, place, before, now)
    replaced = ReplacedVersion(version, issued.sha256, issued.payable_units, restate)
    return _as_version(inputs, version + 1, replaced)


def issue(
    statements: Sequence[Statement],
    folder: Path,
    formats: Collection[str],
    parts: ProofParts,
    *,
    processes: int = 0,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Issued]:
    """Write statements that are not written yet.

    Args:
        statements: from `versioned`.
        folder: where they go.
        formats: names of `statement_files`; the JSON is always written, it is the record.
        parts: the proofs of everything they cite.
        processes: how many; 0 for one a core, 1 for this one alone.
        progress: told (done, total).

    Returns:
        One result a statement, in the same order.

    Raises:
        ReportError: a file cannot be laid out or written; what is missing is written next time.
    """
    wanted = tuple(dict.fromkeys([*(f for f in formats if f != RECORD), RECORD]))
    paths = {s.number: _paths(folder, s, wanted) for s in statements}
    todo = [s for s in statements if not _is_whole(folder, s, paths[s.number])]
    done = len(statements) - len(todo)
    progress(done, len(statements))
    for _ in _written(todo, folder, wanted, parts, processes):
        done += 1
        progress(done, len(statements))
    fresh = {s.number for s in todo}
    return [Issued(s, paths[s.number], s.number in fresh) for s in statements]


def _written(
    todo: Sequence[Statement],
    folder: Path,
    formats: tuple[str, ...],
    parts: ProofParts,
    processes: int,
) -> Iterator[None]:
    count = min(processes or len(os.sched_getaffinity(0)), len(todo))
    if count <= 1 or (not processes and len(todo) < POOL_FROM):
        for statement in todo:
            _write(statement, folder, formats, parts)
            yield
        return
    # A fresh interpreter: the parent may hold threads of polars and of the database.
    context = multiprocessing.get_context("spawn")
    start = (folder, formats, parts)
    with ProcessPoolExecutor(count, context, _prepare, start) as pool:
        try:
            with _interrupts_held():
                written = pool.map(_write_in_pool, (s.inputs for s in todo), chunksize=CHUNK)
            yield from written
        finally:
            # Whenever it was stopped, what waits is not written.
            pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back for a moment here, and for good from the processes that start meanwhile.

    It reaches every process of a terminal, also one that is still importing; the parent decides,
    and no statement is half done.
    """
    noted: list[int] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # Another thread may take the signal; Python raises it in the main thread all the same.
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    if is_main:
        signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if noted:
        raise KeyboardInterrupt


_POOL: dict[str, Any] = {}


def _prepare(folder: Path, formats: tuple[str, ...], parts: ProofParts) -> None:
    _POOL.update(folder=folder, formats=formats, parts=parts)


def _write_in_pool(inputs: StatementInputs) -> None:
    _write(build_statement(inputs), _POOL["folder"], _POOL["formats"], _POOL["parts"])


def _write(statement: Statement, folder: Path, formats: tuple[str, ...], parts: ProofParts) -> None:
    proof = parts.of_statement(entry.ledger_seq for entry in statement.inputs.entries)
    files = statement_files(statement, formats, proof)
    record = f"{file_stem(statement)}.{RECORD}"
    for name, data in sorted(files.items(), key=lambda item: item[0] == record):
        write_report(folder / name, data)


def _paths(folder: Path, statement: Statement, formats: Iterable[str]) -> tuple[Path, ...]:
    stem = file_stem(statement)
    return tuple(sorted(folder / f"{stem}.{name}" for name in formats))


def _record(folder: Path, statement: Statement) -> Path:
    return folder / f"{file_stem(statement)}.{RECORD}"


def _latest(folder: Path, first: Statement) -> tuple[Path | None, int]:
    """Find the record of the latest version that was issued."""
    found, version = None, 0
    while (path := folder / f"{file_stem(first, version + 1)}.{RECORD}").exists():
        found, version = path, version + 1
    return found, version


def _is_whole(folder: Path, statement: Statement, paths: Iterable[Path]) -> bool:
    whole = all(path.exists() for path in paths)
    return whole and _carries(_record(folder, statement), statement.sha256)


def _carries(record: Path, sha256: str) -> bool:
    return f'"sha256":"{sha256}"'.encode() in record.read_bytes()


def _as_version(
    inputs: StatementInputs, version: int, replaced: ReplacedVersion | None
) -> Statement:
    status = inputs.header.status if replaced is None else "restated"
    header = replace(inputs.header, version=version, status=status)
    return build_statement(replace(inputs, header=header, replaces=replaced))


def _differences(before: Any, now: Any, place: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted({*before, *now}):
            yield from _differences(before.get(key), now.get(key), f"{place}.{key}")
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for number, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from _differences(old, new, f"{place}[{number}]")
    elif before != now:
        yield place, _short(before), _short(now)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:80]
