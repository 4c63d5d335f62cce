"""The sections of the compliance report about usage: completeness, sampling and filtering."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from reports.compliance_inputs import ComplianceInputs, Figure, Gap, UsageDay
from reports.compliance_sections import PPT, SectionBody, table
from reports.errors import StatementDoesNotFootError
from reports.render.document import Cell
from reports.render.text import DASH, count, percent


def usage_body(inputs: ComplianceInputs) -> SectionBody:
    """Outputs logged by day against the gateway's own counters, payable and excluded.

    Raises:
        StatementDoesNotFootError: a day's payable and excluded outputs are not its logged ones.
    """
    days = inputs.usage
    if days is None:
        return SectionBody(gaps=(Gap("usage", "No outputs manifest was given."),))
    for day in days:
        total = day.payable + sum(day.excluded.values())
        if total != day.logged:
            check = f"payable and excluded outputs of {day.date} against logged ones"
            raise StatementDoesNotFootError(inputs.report_id, check, total, day.logged)
    rows = [
        (
            Cell(day.date, sub=day.source),
            count(day.logged),
            DASH if day.gateway is None else count(day.gateway),
            _gap(day),
            count(sum(day.excluded.values())),
            count(day.payable),
            count(day.quarantined),
        )
        for day in days
    ]
    heads = ("=Day", ">Logged", ">Gateway", ">Differ", ">Excluded", ">Payable", ">Quarantined")
    gaps = []
    if any(day.gateway is None for day in days):
        why = "The gateway's or billing's own counts were not given, so a lost log is not seen."
        gaps.append(
            Gap("completeness against the gateway", why, "Give them with `byline reconcile`.")
        )
    figures = (
        Figure("Logged", count(sum(day.logged for day in days)), "outputs/*.manifest.json"),
        Figure("Payable", count(sum(day.payable for day in days)), "outputs/*.manifest.json"),
    )
    return SectionBody("", figures, (table("By day", heads, rows),), tuple(gaps))


def _gap(day: UsageDay) -> str:
    if day.gateway is None:
        return DASH
    return count(day.logged - day.gateway if day.gateway_gap is None else day.gateway_gap)


def sampling_body(inputs: ComplianceInputs) -> SectionBody:
    """Frame, design, seed, rate, achieved sample and error."""
    text = (
        "Stratified Poisson sampling with permanent random numbers: an output is in the sample if "
        "HMAC-SHA256(seed, event id) / 2^256 is below its inclusion probability, which grows with "
        "its value inside a stratum. The seed is fixed by the checkpoint before and the day's "
        "logs, so anyone can re-draw one record at a time. Shares are Hajek ratios with linearised "
        "variance."
    )
    nights = inputs.sampling
    if nights is None:
        return SectionBody(text, gaps=(Gap("the draws", "No sample manifest was given."),))
    rows = [
        (
            Cell(night.date, sub=night.source),
            Cell(night.seed_hex[:16], tone="code"),
            count(night.strata),
            count(night.population),
            count(night.sampled),
            percent(round(Fraction(night.sampled * PPT, night.population)))
            if night.population
            else DASH,
        )
        for night in nights
    ]
    heads = ("=Night", "Seed", ">Strata", ">Frame", ">Sampled", ">Rate")
    tables = [table("Draws", heads, rows)]
    bands = [(night.date, band, error) for night in nights for band, error in night.error_bands]
    gaps = []
    if bands:
        band_heads = ("Night", "=Band of creators", ">Standard error of share")
        tables.append(table("Error by band", band_heads, bands, "estimates/*.creators.parquet"))
    else:
        gaps.append(Gap("error by band of creators", "The estimates were not given."))
    if any(night.creators_without_hit is None for night in nights):
        gaps.append(Gap("creators without a sampled hit", "The estimates were not given."))
        figures: tuple[Figure, ...] = ()
    else:
        hits = "; ".join(f"{n.date}: {n.creators_without_hit}" for n in nights)
        figures = (Figure("Creators without a sampled hit", hits, "estimates/*.creators.parquet"),)
    return SectionBody(text, figures, tuple(tables), tuple(gaps))


def filters_body(inputs: ComplianceInputs) -> SectionBody:
    """Excluded traffic by reason."""
    days: tuple[UsageDay, ...] | None = inputs.usage
    gaps: tuple[Gap, ...] = ()
    figures: tuple[Figure, ...] = ()
    if inputs.appeals is None:
        gaps = (Gap("appeals against exclusions", "The register of appeals was not given."),)
    else:
        figures = (Figure("Appeals granted", count(inputs.appeals), "appeals/*.jsonl"),)
    if days is None:
        return SectionBody(gaps=(Gap("filters", "No outputs manifest was given."), *gaps))
    reasons: Counter[str] = Counter()
    for day in days:
        reasons.update(day.excluded)
    logged = sum(day.logged for day in days)
    rows = [
        (
            reason.replace("_", " "),
            count(number),
            percent(round(Fraction(number * PPT, logged))) if logged else DASH,
        )
        for reason, number in sorted(reasons.items())
    ]
    heads = ("=Reason", ">Outputs", ">Of logged")
    counted = table("Excluded outputs", heads, rows, "outputs/*.manifest.json, counts.excluded")
    return SectionBody("", figures, (counted,), gaps)
