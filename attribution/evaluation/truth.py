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

RIDGES = (1e-6, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
BOOTSTRAP = 100

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

    @property
    def orders(self) -> tuple[str, ...]:
        """The orders in which creators were removed: "" is the recipe's own, then seeds."""
        return tuple(
            sorted(
                kind.removeprefix("loco")
                for kind in self.losses
                if kind.startswith("loco") and f"base{kind.removeprefix('loco')}" in self.losses
            )
        )

    def retrains(self, kind: str) -> tuple[Masks, Nats]:
        """Return ([R, N] kept, [R, Q] losses) of a kind, averaged over the orders that have it.

        A further order counts for a retrain only where it kept the same documents.
        """
        added, count = self._elsewhere(kind)
        return self.kept[kind], (self.losses[kind] + added) / (1 + count[:, None])

    def reordered(self, kind: str) -> tuple[Masks, Nats] | None:
        """Return the same over the further orders alone; None where there is none."""
        added, count = self._elsewhere(kind)
        there = count > 0
        found = (self.kept[kind][there], added[there] / count[there, None])
        return found if there.any() else None

    def _elsewhere(self, kind: str) -> tuple[Nats, NDArray[np.float64]]:
        """Return the summed losses [R, Q] in further orders, and how many those are [R]."""
        kept = self.kept[kind]
        added, count = np.zeros_like(self.losses[kind]), np.zeros(len(kept))
        for other in self.losses:
            if not (other.startswith(kind) and other.removeprefix(kind).isdigit()):
                continue
            for mask, loss in zip(self.kept[other], self.losses[other], strict=True):
                same = np.flatnonzero((kept == mask).all(axis=1))
                added[same] += loss
                count[same] += 1
        return added, count

    def removal(self, order: str = "") -> tuple[Nats, tuple[int, ...]]:
        """Return [Q, C'] nats lost without each creator, and which creators those are.

        Who was left out is read from the masks, not from the files' numbers: a
        truth made elsewhere may count its creators in another order.

        Args:
            order: seed of the order of the documents, "" for the recipe's own.

        Raises:
            RecipeError: a retrain of this kind left out none, several, or part of one.
        """
        documents = self.membership.sum(axis=0)  # [C]
        which = []
        kind = f"loco{order}"
        for number, mask in zip(self.numbers[kind], self.kept[kind], strict=True):
            left_out = (~mask) @ self.membership  # [C]
            gone = np.flatnonzero(left_out)
            if len(gone) != 1 or left_out[gone[0]] != documents[gone[0]]:
                raise RecipeError(
                    f"retrain {kind}-{number:03d} left out documents of {len(gone)} creators, not "
                    f"all of exactly one; the creators of this truth are other ones"
                )
            which.append(int(gone[0]))
        full = self.losses[f"base{order}"].mean(axis=0)
        return (self.losses[kind] - full).T, tuple(which)

    @cached_property
    def banzhaf(self) -> Coalition:
        """The coalition truth with its defaults, estimated once."""
        return self.coalition()

    def coalition(self, *, ridge: float | None = None, folds: int = 10) -> Coalition:
        """Estimate each creator's mean effect over random coalitions.

        With every creator in or out with even chance, regression on the membership
        gives the Banzhaf values. They are pulled towards the creators' numbers of
        documents times a common level, the less the more retrains there are; how
        much is chosen by cross-validation. Where all coalitions are of one size
        only differences between creators are seen; their common level is then
        taken from the retrain with everybody. The cross-validated fit says
        whether there are retrains enough to believe the values.

        Args:
            ridge: strength of the pull, relative to the number of retrains; chosen
                among RIDGES when left out.
            folds: parts of the cross-validation.

        Raises:
            RecipeError: there are fewer than ten retrains of random creators.
        """
        masks, losses = self.retrains("creator")
        kept = (masks @ self.membership > 0).astype(np.float64)  # [R, C]
        helped = -losses  # [R, Q]
        if len(kept) < 10:
            raise RecipeError(
                f"{len(kept)} retrains of random creators are too few for coalition values; "
                f"make at least 10, better three times the {len(self.creators)} creators"
            )
        size = self.membership.sum(axis=0) / len(self.groups)
        fits = {
            strength: _validated(kept, helped, size, strength, folds)
            for strength in (RIDGES if ridge is None else (ridge,))
        }
        chosen = max(fits, key=lambda strength: float(fits[strength].mean()))
        values = _coalition_values(kept, helped, size, chosen, -self.full_loss)
        draw = np.random.default_rng(0)
        again = []
        for _ in range(BOOTSTRAP):
            rows = draw.integers(0, len(kept), len(kept))
            again.append(_coalition_values(kept[rows], helped[rows], size, chosen, -self.full_loss))
        return Coalition(values.T, fits[chosen], len(kept), chosen, np.stack(again).mT)


@dataclass(frozen=True)
class Coalition:
    """Banzhaf values by regression.

    Attributes:
        values: [Q, C], nats.
        fit: [Q], cross-validated share of variance explained; below zero the
            values say nothing.
        retrains: how many they rest on.
        ridge: how strongly they were pulled towards the creators' sizes.
        draws: [BOOTSTRAP, Q, C], values from retrains drawn again with replacement.
    """

    values: Nats
    fit: Nats
    retrains: int
    ridge: float
    draws: Nats


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


def _coalition_values(kept: Nats, helped: Nats, size: Nats, ridge: float, full: Nats) -> Nats:
    """Return [C, Q] values, their level from everybody where the coalitions do not show it."""
    values = _regress(kept, helped, size, ridge)[0]
    sizes = kept.sum(axis=1)
    if (sizes == sizes[0]).all():
        out = 1 - kept.mean(axis=0)  # [C], how often each was left out
        seen = helped.mean(axis=0) + out @ values
        values = values + (full - seen) / out.sum()
    return values


def _validated(kept: Nats, helped: Nats, size: Nats, ridge: float, folds: int) -> Nats:
    """Return [Q], the share of variance that retrains left out of the regression explain."""
    part = np.random.default_rng(0).permutation(len(kept)) % min(folds, len(kept))
    missed, spread = np.zeros_like(helped), np.zeros_like(helped)
    for fold in range(int(part.max()) + 1):
        inside = part != fold
        beta, level = _regress(kept[inside], helped[inside], size, ridge)
        missed[~inside] = helped[~inside] - (level + kept[~inside] @ beta)
        spread[~inside] = helped[~inside] - helped[inside].mean(axis=0)
    return np.asarray(1 - (missed**2).sum(axis=0) / np.maximum((spread**2).sum(axis=0), 1e-30))


def _regress(kept: Nats, helped: Nats, size: Nats, ridge: float) -> tuple[Nats, Nats]:
    """Return coefficients [C, Q] and the level [Q]: size times a slope, and shrunk deviations."""
    middle, height = kept.mean(axis=0), helped.mean(axis=0)
    centred, raised = kept - middle, helped - height
    spread = centred @ size  # [R]
    slope = np.zeros(helped.shape[1])  # [Q]; coalitions of one size say nothing about it
    if float(spread @ spread) > 1e-9 * len(kept):
        slope = spread @ raised / float(spread @ spread)
    gram = centred.T @ centred + ridge * len(kept) * np.eye(kept.shape[1])
    beta = np.linalg.solve(gram, centred.T @ (raised - np.outer(spread, slope)))
    beta += np.outer(size, slope)
    return beta, height - middle @ beta
