"""What goes into a period's close, read from files and books: the work before the plan.

1. A closed period is worked out with what its close cites: agreements, catalogue, pools, rates
   and reported usage are kept under their digests in `evidence/`.
2. Earlier closed periods are worked out again only when something is known now that the last
   close did not know and that could matter to them.
3. Accruals by another rule than the nights were booked by are cited by the close that reads them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from contracts.agreement import AgreementBook
from contracts.apportionment import PER_OUTPUT_POSITIVE
from contracts.balances import Balances
from contracts.fx import FxTable
from contracts.period import Period
from flows.accruals import NightAccrual, gather
from flows.artefacts import (
    atomic_path,
    canonical_json,
    read_manifest,
    sha256_bytes,
    sha256_file,
    write_bytes,
)
from flows.cells import cells_kind
from flows.close_entries import Paper
from flows.close_plan import ClosePlan, agreements_of, plan_close
from flows.division import Division, divide_period
from flows.errors import CloseError
from flows.knowledge import Knowledge, KnowledgeBase, catalogue_copy
from flows.period_files import kept_copy, period_files, read_pools, read_rates, read_usage
from flows.positive import KIND as POSITIVE
from flows.restate import PastPeriod, Restatement, read_by_rule, restate
from flows.usage_counts import count_usage
from flows.workspace import Workspace
from ledger.period_close import PeriodStatus
from ledger.store import LedgerStore

INPUTS_FORMAT = "byline-close-inputs/1"
POSITIVE_KINDS = (POSITIVE, cells_kind(PER_OUTPUT_POSITIVE.name))


class PeriodWork:
    """One period with everything its close reads.

    Args:
        workspace: whose files.
        books: the open ledger.
        base: what was known when.
        period: YYYY-MM.
        known: the agreements and owners to go by; what the close cites, or what is known now,
            when None.
    """

    def __init__(
        self,
        workspace: Workspace,
        books: LedgerStore,
        base: KnowledgeBase,
        period: str,
        known: Knowledge | None = None,
    ) -> None:
        self.workspace, self.books, self.base, self.period = workspace, books, base, period
        self._given = known

    @cached_property
    def is_closed(self) -> bool:
        """Whether the period is closed."""
        return self.books.period_status(self.period) is PeriodStatus.CLOSED

    @cached_property
    def cited(self) -> Mapping[str, Any]:
        """What the close cites; empty while the period is open."""
        path = inputs_file(self.workspace, self.period)
        return read_manifest(path, INPUTS_FORMAT, step="`byline close`") if self.is_closed else {}

    @cached_property
    def closed_with(self) -> Knowledge:
        """What the close knew; what is known now while the period is open."""
        return self.base.cited(self.cited) if self.is_closed else self.base.present

    @property
    def known(self) -> Knowledge:
        """The agreements and owners the period is worked out with."""
        return self._given or self.closed_with

    def file(self, name: str) -> Path:
        """Give a file of the accountant's: as the close read it, or as it is now."""
        if self.is_closed and name in self.cited:
            return kept_copy(self.workspace, name, str(self.cited[name]))
        if self.is_closed:
            return self.workspace.root / "evidence" / f"no-{name}.json"
        return period_files(self.workspace, self.period)[name]

    @cached_property
    def division(self) -> Division:
        """The period's pools, divided."""
        pool = self.workspace.settings.pool
        accruals = gather(self.workspace, self.books, self.base, self.known, self.period)
        funded = read_pools(self.file("pools"), main_pool=pool.id, currency=pool.currency)
        return divide_period(accruals, self.known, funded)

    @cached_property
    def as_past(self) -> PastPeriod:
        """The period as later closes look back on it."""
        return PastPeriod(self.division, read_usage(self.file("usage")), self.fx)

    @cached_property
    def fx(self) -> FxTable:
        """The exchange rates the close reads."""
        return FxTable(read_rates(self.file("rates")))

    @cached_property
    def past(self) -> tuple[PastPeriod, ...]:
        """Every closed period before this one, as it was closed."""
        return tuple(
            PeriodWork(self.workspace, self.books, self.base, name).as_past
            for name in closed_before(self.workspace, self.books, self.period)
        )

    @cached_property
    def restatement(self) -> Restatement:
        """What earlier periods come to now."""
        if self.before is None:
            return Restatement()
        return restate(self.past, self.before, self.known, self.fx)

    @cached_property
    def before(self) -> Knowledge | None:
        """What the last close knew, where what is known now could matter to closed periods."""
        names = closed_before(self.workspace, self.books, self.period)
        if not names:
            return None
        before = PeriodWork(self.workspace, self.books, self.base, names[-1]).closed_with
        return before if may_matter(before, self.known, Period(names[-1])) else None

    @cached_property
    def by_another_rule(self) -> dict[str, dict[str, str]]:
        """The digests of the accruals by `per_output_positive/1` that this close reads."""
        nights: list[NightAccrual] = []
        if any(pool.rule == PER_OUTPUT_POSITIVE.name for pool in self.division.pools):
            accruals = self.division.accruals
            nights += [*accruals.nights, *accruals.reversed_nights]
        # A restatement makes what it reads, so it comes before the list of that.
        if self.before and self.restatement:
            for known in (self.before, self.known):
                nights += read_by_rule(self.past, known)
        found: dict[str, dict[str, str]] = {}
        for accrual in nights:
            for kind in POSITIVE_KINDS:
                path = accrual.night.manifest(kind)
                if path.exists():
                    found.setdefault(kind, {})[accrual.night.name] = sha256_file(path)
        return found

    def plan(self, opening: Mapping[str, Balances], paper: Paper) -> ClosePlan:
        """Calculate every agreement and write the entries.

        Args:
            opening: balances by agreement id, advances of the period included.
            paper: who prepares and approves, and the digests that entries cite.

        Returns:
            The plan.
        """
        usage = count_usage(self.division.accruals, self.known, read_usage(self.file("usage")))
        return plan_close(
            self.division,
            agreements_of(self.known.book, Period(self.period)),
            opening,
            usage=usage,
            restatement=self.restatement,
            fx=self.fx,
            paper=paper,
        )

    def write_inputs(self) -> str:
        """Write down what the division rests on, and keep the files under their digests.

        Returns:
            The digest of the list, cited by the entries of the close.
        """
        content: dict[str, Any] = {
            "format": INPUTS_FORMAT,
            "period": self.period,
            "agreements": self.known.agreements_sha256,
            "catalogue": self.known.catalogue_sha256,
            "nights": {
                accrual.night.name: sha256_file(accrual.night.manifest("estimates"))
                for accrual in self.division.accruals.nights
            },
        }
        for name in period_files(self.workspace, self.period):
            path = self.file(name)
            if path.exists():
                content[name] = _keep(self.workspace, name, path)
        content |= self.by_another_rule
        self._check_same(content)
        data = canonical_json(content)
        path = inputs_file(self.workspace, self.period)
        if not path.exists() or path.read_bytes() != data:
            write_bytes(path, data)
        return sha256_bytes(data)

    def _check_same(self, content: Mapping[str, Any]) -> None:
        """Refuse to work a closed period out on other accruals than its close cites."""
        for kind in POSITIVE_KINDS:
            cited = self.cited.get(kind, {})
            for name, digest in sorted(cited.items()):
                found = content.get(kind, {}).get(name, "no such file")
                if found != digest:
                    raise CloseError(
                        f"{kind}/{name}.manifest.json: the close of {self.period} cites {digest}, "
                        f"found {found}; the period was divided on other accruals, and nothing of "
                        f"it is worked out. Restore {kind}/{name}.* from a backup or an audit pack"
                    )


def closed_before(workspace: Workspace, books: LedgerStore, period: str) -> list[str]:
    """Name the closed periods before one that this workspace closed, in order."""
    return [
        name
        for name, status in sorted(books.periods().items())
        if name < period and status is PeriodStatus.CLOSED and inputs_file(workspace, name).exists()
    ]


def may_matter(before: Knowledge, now: Knowledge, last: Period) -> bool:
    """Say whether what is known now could change a period up to the last closed one."""
    if before.digests == now.digests:
        return False
    same_works = (
        before.catalogue_sha256 == now.catalogue_sha256
        or before.catalogue.works == now.catalogue.works
    )
    return not same_works or _until(before.book, last) != _until(now.book, last)


def inputs_file(workspace: Workspace, period: str) -> Path:
    """Name the file of what a division rests on."""
    return workspace.root / "closes" / f"{period}.inputs.json"


def _until(book: AgreementBook, last: Period) -> list[tuple[str, int]]:
    """Give the versions that have begun by the end of a period."""
    return [(a.agreement_id, a.version) for a in book.agreements if a.effective_from <= last.end]


def _keep(workspace: Workspace, name: str, path: Path) -> str:
    """Keep a file under its digest, and give the digest."""
    digest = sha256_file(path)
    copy = kept_copy(workspace, name, digest)
    if not copy.exists():
        with atomic_path(copy) as part:
            shutil.copyfile(path, part)
    return digest


def cited_files(workspace: Workspace, period: str) -> Iterator[tuple[str, Path]]:
    """Name the files a closed period's entries cite through its inputs, as the close read them.

    Args:
        workspace: whose files.
        period: YYYY-MM, closed.

    Yields:
        The name in an audit pack, and the file: the list of inputs, the catalogue, and accruals by
        another rule, pools, rates and reported usage where the close read any.
    """
    path = inputs_file(workspace, period)
    cited = read_manifest(path, INPUTS_FORMAT, step="`byline close`")
    yield path.name, path
    yield "catalogue.json", catalogue_copy(workspace, cited["catalogue"])
    for kind in POSITIVE_KINDS:
        for name in sorted(cited.get(kind, {})):
            for table in sorted((workspace.root / kind).glob(f"{name}.*")):
                yield f"{kind}.{table.name}", table
    for name in period_files(workspace, period):
        if name in cited:
            yield f"{name}.json", kept_copy(workspace, name, cited[name])
