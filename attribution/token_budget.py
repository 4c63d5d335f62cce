"""How many tokens are read at once: found by trying, within a stated share of memory.

1. Budgets are powers of two. Each is tried on the longest documents, which is the
   largest batch the build will ever see, forward and backward.
2. A larger one is taken while it reads at least 3 % more tokens a second; the search
   ends after two that do not, or at the first that would need more memory than allowed.
3. A corpus too small to repay the search takes the usual budget.
4. What was found is written into the plan: a build that died goes on with it, and bytes
   do not depend on how fast the machine was that day.
5. Memory is measured where a device tells its peak, anew for each batch; on a CPU by the
   process's own peak, which only rises, so it is compared with where it stood before.
6. A batch that a card has no room for ends the search; it takes more than is allowed.
"""

from __future__ import annotations

import itertools
import math
import os
import resource
import time
from collections.abc import Sequence

import numpy as np
import torch

from attribution.batches import Batch, collate, plan
from attribution.gradients import LossModel, backward, recording
from attribution.layers import TrackedLayer
from attribution.recorders import FiniteRecorder
from attribution.tokens import Encoded, lengths_of

USUAL = 4096
SMALLEST, LARGEST = 1024, 1 << 17
WORTH_IT = 64 * USUAL
GAIN = 1.03
_KIBIBYTE = 1024
_NO_ROOM = 1 << 62


def find_token_budget(
    model: LossModel,
    layers: Sequence[TrackedLayer],
    encoded: Sequence[Encoded],
    *,
    context: int,
    memory_bytes: int,
) -> int:
    """Find the token budget of a build.

    Args:
        model: one checkpoint of the path; all are of one shape.
        layers: what is tracked.
        encoded: the documents.
        context: the most tokens the model reads at once.
        memory_bytes: what one batch may take beside the model.

    Returns:
        The budget; `USUAL` where a search would not pay (rule 3).
    """
    lengths, prompts = lengths_of(encoded)
    if int((lengths - prompts).clip(min=0).sum()) < WORTH_IT:
        return USUAL
    longest = np.argsort(-lengths, kind="stable")
    best, speed, poorer = SMALLEST, 0.0, 0
    for budget in _budgets():
        batch = _first_batch(encoded, longest, context, budget)
        if batch is None:
            break
        seconds, taken = _try(model, layers, batch)
        if taken > memory_bytes and speed:
            break
        found = int(batch.live.sum()) / seconds
        if found > speed * GAIN:
            best, speed, poorer = budget, found, 0
        else:
            poorer += 1
        if poorer == 2 or taken > memory_bytes:
            break
    return best


def memory_allowed(device: torch.device) -> int:
    """Return what a batch may take, bytes: a sixteenth of the machine's memory.

    Of a card's, a quarter, but no more than half of what is free beside the model.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return min(total // 4, free // 2)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 16


def _budgets() -> list[int]:
    doubled = itertools.accumulate(itertools.repeat(2), lambda a, b: a * b, initial=SMALLEST)
    return list(itertools.takewhile(lambda budget: budget <= LARGEST, doubled))


def _first_batch(
    encoded: Sequence[Encoded], longest: np.ndarray, context: int, budget: int
) -> Batch | None:
    """Return the largest batch under a budget; None where the corpus cannot fill it."""
    shortest = max(1, len(encoded[longest[0]].input_ids) // 2)
    rows = [encoded[i] for i in longest[: budget // shortest + 1]]
    batches = plan(rows, context, budget)
    if len(batches) < 2 and len(rows) == len(encoded):
        return None
    return collate(rows, batches[0], context)


def _try(model: LossModel, layers: Sequence[TrackedLayer], batch: Batch) -> tuple[float, int]:
    """Return the seconds one batch takes, and the bytes it adds to the peak."""
    look = FiniteRecorder(layers)
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
    before = _peak(model.device)
    times = []
    try:
        with recording(model.model, layers, look):
            for _ in range(2):
                look.start(batch)
                begun = time.perf_counter()
                backward(model, batch, recorder=look)
                times.append(time.perf_counter() - begun)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return math.inf, _NO_ROOM
    return min(times), _peak(model.device) - before


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIBIBYTE
