"""The quarantine in a person's hands: list it, show one reject, read it again.

1. `list` counts the rejects of dates by reason; `show` gives one with all it said.
2. `replay` reads the kept raw lines again with today's settings and adapters. Lines that can be
   read now are written as a log file of their own, named by their content; the next ingest takes
   it like any other (a late batch, if the date is sampled already). Ids come from the source, so
   a line that is also still in its old log counts once.
3. Nothing leaves the quarantine by replay: a date's quarantine is rewritten by its next ingest.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from pathlib import Path

import orjson

from flows.artefacts import sha256_bytes, write_bytes
from flows.canonical_rows import IngestSettings, RowMaker
from flows.data_errors import LogError, LogFormatUnknownError, LogMissingError
from flows.intake import ingest_settings, read_hmac_key
from flows.logs.detection import adapter_named, detect_format, make_adapters
from flows.logs.openai import BatchInputs, OpenAiBatch, OpenAiBatchInput
from flows.logs.reading import LogFile, find_logs
from flows.logs.record import LogAdapter, NotAnOutputError, RejectedError
from flows.quarantine import Reject, read_quarantine
from flows.workspace import Workspace

_DATE_FILE = re.compile(r"\d{4}-\d{2}-\d{2}\.jsonl")
_MATCH_HEX_MIN = 6


@dataclass(frozen=True)
class Replayed:
    """What became of one reject when it was read again.

    Args:
        reject: the reject.
        outputs: how many outputs it gives now.
        reason: why it still cannot be read; empty when it can.
        detail: more about that.
    """

    reject: Reject
    outputs: int
    reason: str
    detail: str


def list_quarantine(folder: Path) -> dict[str, dict[str, int]]:
    """Count the rejects of every date, by reason.

    Args:
        folder: `quarantine/`.

    Returns:
        For each date that has rejects the counts by reason, both in order.
    """
    counts: dict[str, dict[str, int]] = {}
    for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else []:
        if not _DATE_FILE.fullmatch(path.name):
            continue
        for reject in read_quarantine(path):
            of_date = counts.setdefault(path.stem, {})
            of_date[reject.reason] = of_date.get(reject.reason, 0) + 1
    return {date: dict(sorted(reasons.items())) for date, reasons in counts.items()}


def show_reject(path: Path, wanted: str) -> Reject:
    """Find one reject of a date by FILE:LINE or by the first digits of its raw sha256.

    Raises:
        LogError: none or several match.
    """
    hexadecimal = len(wanted) >= _MATCH_HEX_MIN and re.fullmatch(r"[0-9a-f]+", wanted)
    found = [
        reject
        for reject in read_quarantine(path)
        if f"{reject.source_file}:{reject.source_line}" == wanted
        or (hexadecimal and reject.raw_sha256.startswith(wanted))
    ]
    if len(found) != 1:
        raise LogError(
            f"{len(found)} rejects in {path.name} match {wanted!r}; give FILE:LINE as the list "
            f"shows it, or at least {_MATCH_HEX_MIN} digits of the raw sha256"
        )
    return found[0]


def replay(
    rejects: Sequence[Reject],
    settings: IngestSettings,
    hmac_key: bytes,
    *,
    batch_inputs: BatchInputs | None = None,
) -> list[Replayed]:
    """Read rejects again, changing nothing.

    Args:
        rejects: the rejects, with their raw lines.
        settings: today's settings.
        hmac_key: the installation's key.
        batch_inputs: requests of OpenAI batch inputs, if there are any.

    Returns:
        One answer for each reject, in their order.
    """
    adapters = make_adapters(settings.field_map, batch_inputs)
    maker = RowMaker(settings, hmac_key, None)
    return [_again(reject, adapters, maker, settings.log_format) for reject in rejects]


def replay_night(
    workspace: Workspace, date: Date, *, dry_run: bool
) -> tuple[list[Replayed], Path | None]:
    """Read a night's rejects again and write those that can be read as a log of the workspace.

    Args:
        workspace: whose quarantine; batch inputs among its logs give their prompts.
        date: the night.
        dry_run: write nothing.

    Returns:
        One answer for each reject, and the log written, if any.

    Raises:
        WorkspaceError: the key of the pseudonyms is missing.
    """
    rejects = list(read_quarantine(workspace.root / "quarantine" / f"{date.isoformat()}.jsonl"))
    settings, key = ingest_settings(workspace), read_hmac_key(workspace)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(BatchInputs(Path(folder) / "requests.db")) as inputs,
    ):
        probes = make_adapters(settings.field_map)
        with contextlib.suppress(LogMissingError):
            for log in find_logs([workspace.logs]):
                _read_if_input(log, probes, inputs)
        answers = replay(rejects, settings, key, batch_inputs=inputs)
    path = None if dry_run else write_replay(workspace.logs, date.isoformat(), answers)
    return answers, path


def _read_if_input(log: LogFile, probes: Sequence[LogAdapter], inputs: BatchInputs) -> None:
    """Keep the requests of a log if it is a batch input; a log of an unknown format is none."""
    with contextlib.suppress(LogFormatUnknownError):
        if isinstance(detect_format(log, probes), OpenAiBatchInput):
            inputs.read(log)


def write_replay(folder: Path, date: str, replayed: Sequence[Replayed]) -> Path | None:
    """Write the lines that can be read now as a log file, once.

    Args:
        folder: the logs' folder.
        date: the rejects' date.
        replayed: from `replay`.

    Returns:
        The log file; None if no line can be read.
    """
    lines = sorted({r.reject.raw.encode() for r in replayed if not r.reason and r.outputs})
    if not lines:
        return None
    data = b"".join(line.rstrip(b"\r\n") + b"\n" for line in lines)
    path = folder / f"replay-{date}-{sha256_bytes(data)[:12]}.jsonl"
    write_bytes(path, data)
    return path


def _again(
    reject: Reject, adapters: Sequence[LogAdapter], maker: RowMaker, given: str | None
) -> Replayed:
    """Read one reject again."""
    try:
        return Replayed(reject, _outputs_now(reject, adapters, maker, given), "", "")
    except orjson.JSONDecodeError as error:
        return Replayed(reject, 0, "not_json", str(error))
    except NotAnOutputError as other:
        return Replayed(reject, 0, "", str(other))
    except RejectedError as error:
        return Replayed(reject, 0, error.reason, error.detail)


def _outputs_now(
    reject: Reject, adapters: Sequence[LogAdapter], maker: RowMaker, given: str | None
) -> int:
    """Count the outputs a reject gives now.

    Raises:
        RejectedError, NotAnOutputError, JSONDecodeError: it gives none.
    """
    raw = reject.raw.encode()
    if sha256_bytes(raw) != reject.raw_sha256:
        detail = "its raw text is gone (retention) or was no UTF-8; repair it in the log itself"
        raise RejectedError("raw_lost", detail)
    record = orjson.loads(raw)
    if not isinstance(record, dict):
        raise RejectedError("not_json", f"expected an object, got {type(record).__name__}")
    chosen = [adapter_named(given, adapters)] if given else adapters
    adapter = next((a for a in chosen if given or a.claims(record)), None)
    if adapter is None:
        raise RejectedError("format", "no adapter claims the record")
    if isinstance(adapter, OpenAiBatch):
        if adapter.inputs is None:
            raise RejectedError("missing_prompt", "no batch input was given")
        adapter.label = reject.source_file
    outputs = adapter.outputs(record)
    for output in outputs:
        place = (reject.source_file, reject.source_line, reject.raw_sha256)
        maker.row(output, adapter.name, *place)
    return len(outputs)
