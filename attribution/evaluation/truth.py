"""Retrains read back, and the two truths they hold about creators.

    removal     what an output loses when one creator is left out
    coalition   the mean change over random coalitions (Banzhaf), by regression

Where two creators replace each other, removal pays neither and coalition shares
it, so both are shown. All numbers are nats, summed over a query's scored tokens;
positive = the creator helped.

Axes: Q queries, N documents, R retrains, C creators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attribution.errors import RecipeError

Masks = NDArray[np.bool_]
Nats = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """Losses after retraining, by kind.

    Attributes:
        groups: creator of every document.
        tokens: [Q], scored tokens.
        kept: kind -> [R, N], which documents each retrain kept.
        losses: kind -> [R, Q], summed nats after it.
        numbers: kind -> the number in each file's name.
    """

    groups: tuple[str, ...]
    tokens: NDArray[np.int64]
    kept: dict[str, Masks]
    losses: dict[str, Nats]
    numbers: dict[str, tuple[int, ...]]

    @cached_property
    def creators(self) -> tuple[str, ...]:
        """Every creator once, in the order of first appearance."""
        return tuple(dict.fromkeys(self.groups))

    @cached_property
    def membership(self) -> NDArray[np.float64]:
        """[N, C], 1 where the document is the creator's."""
        place = {creator: number for number, creator in enumerate(self.creators)}
        members = np.zeros((len(self.groups), len(self.creators)))
        members[np.arange(len(self.groups)), [place[group] for group in self.groups]] = 1.0
        return members

    @property
    def full_loss(self) -> Nats:
        """[Q], summed nats with nobody left out, the mean over such retrains."""
        return np.asarray(self.losses["base"].mean(axis=0), dtype=np.float64)

    def removal(self) -> tuple[Nats, tuple[int, ...]]:
        """Return [Q, C'] nats lost without each creator, and which creators those are.

        Who was left out is read from the masks, not from the files' numbers: a
        truth made elsewhere may count its creators in another order.

        Raises:
            RecipeError: a retrain of this kind left out none, several, or part of one.
        """
        documents = self.membership.sum(axis=0)  # [C]
        which = []
        for number, mask in zip(self.numbers["loco"], self.kept["loco"], strict=True):
            left_out = (~mask) @ self.membership  # [C]
            gone = np.flatnonzero(left_out)
            if len(gone) != 1 or left_out[gone[0]] != documents[gone[0]]:
                raise RecipeError(
                    f"retrain loco-{number:03d} left out documents of {len(gone)} creators, not "
                    f"all of exactly one; the creators of this truth are other ones"
                )
            which.append(int(gone[0]))
        return (self.losses["loco"] - self.full_loss).T, tuple(which)

    def coalition(self, *, ridge: float = 1e-6, folds: int = 5) -> Coalition:
        """Estimate each creator's mean effect over random coalitions.

        With every creator in or out with even chance, least squares on the
        membership gives the Banzhaf values. Where all coalitions are of one size
        only differences between creators are seen; their common level is then
        taken from the retrain with everybody. The cross-validated fit says
        whether there are retrains enough to believe the values.

        Args:
            ridge: keeps the regression solvable with few retrains, relative to
                the number of retrains.
            folds: parts of the cross-validation.

        Raises:
            RecipeError: there are fewer than ten retrains of random creators.
        """
        kept = (self.kept["creator"] @ self.membership > 0).astype(np.float64)  # [R, C]
        helped = -self.losses["creator"]  # [R, Q]
        if len(kept) < 10:
            raise RecipeError(
                f"{len(kept)} retrains of random creators are too few for coalition values; "
                f"make at least 10, better three times the {len(self.creators)} creators"
            )
        values = _regress(kept, helped, ridge)[0]  # [C, Q]
        sizes = kept.sum(axis=1)
        if (sizes == sizes[0]).all():
            out = 1 - kept.mean(axis=0)  # [C], how often each was left out
            seen = helped.mean(axis=0) + out @ values
            values = values + (-self.full_loss - seen) / out.sum()
        part = np.arange(len(kept)) % folds
        missed = np.zeros_like(helped)
        for fold in range(folds):
            inside = part != fold
            beta, level = _regress(kept[inside], helped[inside], ridge)
            missed[~inside] = helped[~inside] - (level + kept[~inside] @ beta)
        spread = ((helped - helped.mean(axis=0)) ** 2).sum(axis=0)
        fit = 1 - (missed**2).sum(axis=0) / np.maximum(spread, 1e-30)
        return Coalition(values.T, fit, len(kept))


@dataclass(frozen=True)
class Coalition:
    """Banzhaf values by regression.

    Attributes:
        values: [Q, C], nats.
        fit: [Q], cross-validated share of variance explained; below zero the
            values say nothing.
        retrains: how many they rest on.
    """

    values: Nats
    fit: Nats
    retrains: int


def load_truth(
    folders: Path | Sequence[Path], groups: Sequence[str], scored: Sequence[int] | NDArray[np.int64]
) -> Truth:
    """Read every retrain of one or several folders.

    Args:
        folders: files `KIND-NUMBER.npz`; several folders add up.
        groups: creator of every document.
        scored: [Q], scored tokens of every query.

    Raises:
        RecipeError: there is none, or one has other documents or queries.
    """
    kept: dict[str, list[Masks]] = {}
    losses: dict[str, list[Nats]] = {}
    numbers: dict[str, list[int]] = {}
    tokens = np.asarray(scored, dtype=np.int64)
    folders = [folders] if isinstance(folders, Path) else folders
    for path in (path for folder in folders for path in sorted(folder.glob("*-*.npz"))):
        kind, number = path.stem.rsplit("-", 1)
        with np.load(path) as archive:
            mask, loss = archive["mask"].astype(bool), archive["loss"].astype(np.float64)
        if mask.shape != (len(groups),) or loss.shape != tokens.shape:
            raise RecipeError(
                f"{path} is of {mask.size} documents and {loss.size} queries, not "
                f"{len(groups)} and {tokens.size}; it belongs to another corpus"
            )
        kept.setdefault(kind, []).append(mask)
        losses.setdefault(kind, []).append(loss * tokens)
        numbers.setdefault(kind, []).append(int(number))
    if not kept:
        where = ", ".join(map(str, folders)) or "the set-up"
        raise RecipeError(f"{where} holds no retrain; make the truth first (evaluate build)")
    return Truth(
        tuple(groups),
        tokens,
        {kind: np.stack(rows) for kind, rows in kept.items()},
        {kind: np.stack(rows) for kind, rows in losses.items()},
        {kind: tuple(rows) for kind, rows in numbers.items()},
    )


def _regress(kept: Nats, helped: Nats, ridge: float) -> tuple[Nats, Nats]:
    """Return coefficients [C, Q] and the level [Q] of a ridge regression."""
    middle, height = kept.mean(axis=0), helped.mean(axis=0)
    centred = kept - middle
    gram = centred.T @ centred + ridge * len(kept) * np.eye(kept.shape[1])
    beta = np.linalg.solve(gram, centred.T @ (helped - height))
    return beta, height - middle @ beta
