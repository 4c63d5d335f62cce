"""What the demo shows at its end: creators, trial balance, files, and what to try next."""

from __future__ import annotations

from collections.abc import Iterator

from contracts.money import format_units
from flows.demo.demo import PERIOD, DemoResult
from flows.publish_settlement import creator_lines

TOP = 12
PPT_PER_PERCENT = 10**10


def result_lines(result: DemoResult) -> Iterator[str]:
    """Write the result for a person, line by line."""
    yield ""
    yield from _creators(result)
    yield ""
    yield from _trial_balance(result)
    yield ""
    workspace = result.workspace
    yield "Where the files lie"
    yield f"  statements   {result.published.folder / 'statements'}"
    yield f"  settlement   {result.published.folder / 'settlement.pdf'}"
    yield f"  audit pack   {result.published.pack}"
    yield f"  checkpoint   {workspace.checkpoints} (size {result.checkpoint['size']})"
    yield f"  books        {result.ledger_url}"
    yield ""
    yield f"Verified: {len(result.verified.steps) if result.verified else 0} steps hold."
    yield f"Tampered copy: {result.tamper_found}"
    yield f"Done in {result.seconds:.0f} s."
    yield ""
    yield "Try next"
    yield f"  byline audit verify {result.published.pack} --key {workspace.public_key}"
    period = result.plan.accruals.period
    yield f"  byline report compliance --dir {workspace.home} --period {period}"
    yield f'  byline trace --dir {workspace.home} "The default value is used when"'


def _creators(result: DemoResult) -> Iterator[str]:
    currency = result.plan.accruals.currency
    code = currency.partition("/")[0]
    lines = creator_lines(result.plan)
    yield f"Creators of {PERIOD}, the first {TOP} of {len(lines)}"
    yield (
        f"  {'creator':<28} {'share':>8}  {'95 % interval':>18}  "
        f"{f'earned {code}':>12}  {f'payable {code}':>12}"
    )
    for line in lines[:TOP]:
        low, high = _percent(line.low_ppt or 0), _percent(line.high_ppt or 0)
        yield (
            f"  {line.creator_id:<28} {_percent(line.share_ppt):>8}  {f'{low} .. {high}':>18}  "
            f"{format_units(line.earned_units, currency):>12}  "
            f"{format_units(line.payable_units, currency):>12}"
        )


def _trial_balance(result: DemoResult) -> Iterator[str]:
    currency = result.plan.accruals.currency
    yield f"Trial balance ({currency})"
    groups: dict[str, list[int]] = {}
    for account, units in result.trial_balance:
        name = ":".join(account.split(":")[:2])
        if account.startswith("Liabilities:Suspense"):
            name = account
        groups.setdefault(name, []).append(units)
    for name, balances in sorted(groups.items()):
        count = f"({len(balances)} accounts)" if len(balances) > 1 else ""
        yield f"  {name:<36} {format_units(sum(balances), currency):>14}  {count}".rstrip()
    total = sum(units for _, units in result.trial_balance)
    yield f"  {'sum':<36} {format_units(total, currency):>14}"


def _percent(ppt: int) -> str:
    return f"{ppt / PPT_PER_PERCENT:.2f} %"
