"""Lines of logs to canonical rows: in this process, or in several at once, with the same outcome.

1. Logs are cut into pieces of whole lines. What a piece gives depends on its lines, its place and
   the settings alone; what depends on the lines before it (the date of a line without one) is left
   open and settled by whoever reads the pieces in order.
2. The first pieces are read here. A log that goes on is handed, so many pieces at a time, to
   processes of their own, and the answers are taken in the order of the log.
3. Rows go to the disk where they are made; only counts, rejects and the places of blocks come back.
4. A process whose parent was killed ends itself.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import itertools
import multiprocessing
import os
import threading
from collections import Counter, deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import orjson
import polars as pl

from flows.canonical_rows import DAY_US, IngestSettings, RowMaker
from flows.data_errors import LogError
from flows.filter_keys import FilterSettings, keys_of
from flows.logs.detection import adapter_named, make_adapters
from flows.logs.openai import BatchInputs, OpenAiBatch
from flows.logs.reading import numbered
from flows.logs.record import LogAdapter, NotAnOutputError, RejectedError
from flows.quarantine import Reject
from flows.row_spool import RowSpool, SortedBlock

HERE_PIECES = 32
TASK_PIECES = 32
PROCESSES_MAX = 8


@dataclass(frozen=True)
class Decoding:
    """All that a piece needs besides itself.

    Args:
        settings: how records become rows.
        hmac_key: the installation's key for pseudonyms.
        now_us: time of the run, for the clock skew rule.
        day: the date wanted, in days since 1970.
        folder: where rows and the batch inputs' requests lie.
        with_keys: make what the filters look at on the way.
    """

    settings: IngestSettings
    hmac_key: bytes
    now_us: int | None
    day: int
    folder: Path
    with_keys: bool

    @property
    def requests(self) -> Path:
        """The file of the batch inputs' requests."""
        return self.folder / "requests.db"


class Piece(NamedTuple):
    """Some lines of a log: its label and format, the number of the first line, and the lines."""

    label: str
    log_format: str
    first: int
    lines: bytes


@dataclass
class Decoded:
    """What became of a piece's lines.

    Attributes:
        label: the log.
        records: lines that are not empty.
        outputs: rows made.
        other_date: outputs of other dates.
        not_output: records that are none, by kind.
        rejects: each with its day, None where no line of the piece before it names one.
        first: the day of the first readable output, if any.
        last: the day of the last one.
    """

    label: str
    records: int = 0
    outputs: int = 0
    other_date: int = 0
    not_output: Counter[str] = field(default_factory=Counter)
    rejects: list[tuple[int | None, Reject]] = field(default_factory=list)
    first: int | None = None
    last: int | None = None


class Answer(NamedTuple):
    """What became of some pieces, and the blocks of their rows."""

    pieces: list[Decoded]
    blocks: list[SortedBlock]


class Decoder:
    """Decodes pieces, one after the other.

    Args:
        decoding: how.
        name: how the files of its rows begin.
    """

    def __init__(self, decoding: Decoding, name: str) -> None:
        self.day = decoding.day
        self.inputs = BatchInputs(decoding.requests)
        settings = decoding.settings
        self.adapters = make_adapters(settings.field_map, self.inputs)
        self.maker = RowMaker(settings, decoding.hmac_key, decoding.now_us)
        derive = None
        if decoding.with_keys:
            derive = partial(_with_keys, settings=settings.filters)
        self.spool = RowSpool(decoding.folder, name, derive=derive)

    def close(self) -> None:
        """Let go of the batch inputs."""
        self.inputs.close()

    def read(self, piece: Piece) -> Decoded:
        """Decode one piece; its rows go to the spool."""
        adapter = adapter_named(piece.log_format, self.adapters)
        if isinstance(adapter, OpenAiBatch):
            adapter.label = piece.label
        said = Decoded(piece.label)
        for number, line in numbered(piece.first, piece.lines):
            said.records += 1
            try:
                day = self._take(line, number, adapter, said)
            except NotAnOutputError as other:
                said.not_output[str(other)] += 1
                continue
            except RejectedError as error:
                where = _own_day(line, adapter, said.last)
                reject = Reject.of(piece.label, number, error.reason, error.detail, line)
                said.rejects.append((where, reject))
                continue
            if day is not None:
                said.last = day
                said.first = day if said.first is None else said.first
        return said

    def _take(self, line: bytes, number: int, adapter: LogAdapter, said: Decoded) -> int | None:
        """Read one line; give the day of its (first) output.

        Raises:
            NotAnOutputError: it is something else.
            RejectedError: it cannot be read.
        """
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise RejectedError("not_json", f"{error}") from None
        if not isinstance(record, dict):
            raise RejectedError("not_json", f"expected an object, got {type(record).__name__}")
        outputs = adapter.outputs(record)
        digest = hashlib.sha256(line).hexdigest()
        rows = []
        other_date = 0
        for output in outputs:
            if output.time_us // DAY_US == self.day:
                rows.append(self.maker.row(output, adapter.name, said.label, number, digest))
            else:
                other_date += 1
        for row in rows:
            self.spool.add(row)
        said.outputs += len(rows)
        said.other_date += other_date
        return outputs[0].time_us // DAY_US if outputs else None


def decode(pieces: Iterator[Piece], decoding: Decoding, processes: int = 0) -> Generator[Answer]:
    """Decode the pieces of logs.

    Args:
        pieces: in the order of the logs.
        decoding: how.
        processes: how many to use besides this one; 0 = one a processor, at most eight; with 1
            everything is done in this one.

    Yields:
        Answers in the order of the pieces, each piece in one of them.

    Raises:
        LogError: a process died.
    """
    count = processes or min(PROCESSES_MAX, len(os.sched_getaffinity(0)))
    with contextlib.closing(Decoder(decoding, "here")) as here:
        for piece in pieces if count == 1 else itertools.islice(pieces, HERE_PIECES):
            yield Answer([here.read(piece)], [])
        yield Answer([], here.spool.taken())
    tasks = iter(lambda: list(itertools.islice(pieces, TASK_PIECES)), [])
    first = next(tasks, None)
    if first is None:
        return
    # "spawn" starts clean processes on every system, whatever threads this one has.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        count, mp_context=context, initializer=_begin, initargs=(decoding,)
    ) as pool:
        try:
            yield from _answers(itertools.chain([first], tasks), pool, count)
        except BrokenProcessPool as error:
            raise LogError(
                "a process that decodes logs died, perhaps for want of memory; nothing was "
                "ingested. Give the command again, with processes = 1 in [ingest] to do with less"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _answers(
    tasks: Iterator[list[Piece]], pool: ProcessPoolExecutor, count: int
) -> Iterator[Answer]:
    """Keep every process busy and one task waiting; give the answers in order."""
    waiting: deque[Future[Answer]] = deque()
    for task in tasks:
        waiting.append(pool.submit(_decode, task))
        while len(waiting) > count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


# Of a process of the pool: what it decodes with.
_OWN: dict[str, Decoder] = {}


def _begin(decoding: Decoding) -> None:
    """Set up a process of the pool."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a process of a pool has a parent"

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    # Records hold no cycles; looking for some in every run of rows costs a tenth of the time.
    gc.set_threshold(100_000, 50, 100)
    _OWN["decoder"] = Decoder(decoding, f"process-{os.getpid()}")


def _decode(task: list[Piece]) -> Answer:
    """Decode some pieces in a process of the pool."""
    decoder = _OWN["decoder"]
    return Answer([decoder.read(piece) for piece in task], decoder.spool.taken())


def _with_keys(frame: pl.DataFrame, settings: FilterSettings) -> pl.DataFrame:
    """Add what the filters look at."""
    return frame.hstack(keys_of(frame, settings))


def _own_day(line: bytes, adapter: LogAdapter, nearest: int | None) -> int | None:
    """Give the day of a rejected line: its own if it can be read, else the nearest before it."""
    try:
        return adapter.moment(orjson.loads(line)) // DAY_US
    except (RejectedError, orjson.JSONDecodeError, AttributeError, TypeError):
        return nearest
