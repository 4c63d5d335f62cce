"""Where the models of attribution run: this machine's processor, or one of its cards.

1. `auto` is the first card that torch sees, or the processor. A card that is asked for and is
   not there is an error, never a quiet fall back.
2. Matrix products on a card keep float32's whole mantissa, whatever the environment says.
3. Numbers made on a card are those of the processor within float rounding, and no closer: which
   devices made an index or a run is recorded. Where the processor alone did, nothing is, so that
   those bytes are what they always were.
4. Only what reads a model runs there. Stored rows are multiplied on the processor, and the
   methods that train again keep to it, since a training run is replayed to the last bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from attribution.errors import DeviceError, DeviceMemoryError
from attribution.files import canonical_json, write_atomically

CPU = torch.device("cpu")
AUTO = "auto"
FORMS = 'auto, cpu, cuda, or a numbered card such as "cuda:1"'
_NOTE = "device.json"
_MEBIBYTE = 1 << 20


def find_device(wanted: str | torch.device = AUTO) -> torch.device:
    """Return the device that is asked for (rule 1).

    Args:
        wanted: auto, cpu, cuda, or cuda:N with N counted among the cards that
            `CUDA_VISIBLE_DEVICES` leaves visible.

    Raises:
        DeviceError: it is written another way, or is not there.
    """
    said = str(wanted)
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if said == AUTO:
        said = "cuda" if cards else "cpu"
    kind, colon, number = said.partition(":")
    if said == "cpu":
        return CPU
    if kind != "cuda" or (colon and not number.isdecimal()):
        raise DeviceError(f"device {said!r} is not one attribution knows; write {FORMS}")
    place = int(number or 0)
    if place >= cards:
        raise DeviceError(_missing(said, cards))
    torch.set_float32_matmul_precision("highest")
    return torch.device("cuda", place)


def _missing(said: str, cards: int) -> str:
    if torch.version.cuda is None:
        why = f"this is torch {torch.__version__}, built without CUDA"
    elif not cards:
        why = f"torch {torch.__version__} finds no card (driver, or CUDA_VISIBLE_DEVICES)"
    else:
        why = f"torch sees cuda:0 to cuda:{cards - 1}"
    return (
        f"device {said} was asked for and {cards} cards are there: {why}. Nothing was read or "
        f"written. Give --device cpu or auto, or set it as [attribution] device"
    )


def device_name(device: torch.device) -> str:
    """Return what is recorded of a device: cpu, or a card's model without its number."""
    if device.type != "cuda":
        return device.type
    return f"cuda {torch.cuda.get_device_name(device)}"


def devices_of(content: Mapping[str, Any]) -> set[str]:
    """Return the devices that a manifest names; without any it was the processor alone."""
    return set(content.get("devices", [CPU.type]))


def with_devices(content: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Name the devices that took part in a manifest's content, unless it was the processor alone.

    Args:
        content: of a manifest; what it named before is forgotten.
        names: of all devices that took part.
    """
    every = sorted(set(names))
    kept = {key: value for key, value in content.items() if key != "devices"}
    return kept if every == [CPU.type] else {**kept, "devices": every}


def joined_by(content: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Name one more device in the content of a manifest that is there."""
    return with_devices(content, devices_of(content) | {device_name(device)})


def note_device(folder: Path, device: torch.device, *, begun: bool) -> None:
    """Note in a checkpoint's folder that a device makes a part of it.

    Args:
        folder: the checkpoint's.
        device: that goes on with it.
        begun: whether some of it is made already, which was on the processor where no note is.
    """
    path = folder / _NOTE
    before = noted_devices(folder) if begun or path.is_file() else set()
    every = sorted(before | {device_name(device)})
    if every != [CPU.type]:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, canonical_json(every))


def noted_devices(folder: Path) -> set[str]:
    """Return the devices that made a checkpoint."""
    path = folder / _NOTE
    return set(json.loads(path.read_bytes())) if path.is_file() else {CPU.type}


@contextmanager
def within_memory(device: torch.device, tokens: int | None) -> Iterator[None]:
    """Turn a card that has no room into an error that says what to do.

    Args:
        device: where the block computes.
        tokens: of a batch; None where batches are no one's choice.

    Raises:
        DeviceMemoryError: the card's memory did not suffice.
    """
    try:
        yield
    except torch.OutOfMemoryError as fault:
        free, total = _memory(device)
        batch = f" with batches of {tokens} tokens" if tokens else ""
        remedy = (
            "Lower [attribution] token_budget, which a new build in another folder takes up; end "
            "what else runs on the card; or give --device cpu"
            if tokens
            else "End what else runs on the card, or give --device cpu"
        )
        raise DeviceMemoryError(
            f"{device} ran out of memory{batch}: {free} MiB of {total} MiB are free now. What was "
            f"finished stays, and nothing reads the rest. {remedy}"
        ) from fault


def _memory(device: torch.device) -> tuple[int, int]:
    """Return free and total memory of a card, MiB."""
    if device.type != "cuda":
        return 0, 0
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    return free // _MEBIBYTE, total // _MEBIBYTE
