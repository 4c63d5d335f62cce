"""Before a night goes on: what was altered since it was written is set aside and made again.

1. Every table of the night is hashed and compared with its manifest. What does not fit is moved,
   with its manifest, to `damaged/`, the person is told in one line, and the steps make it again
   from what it was made from; their outcome is the same bytes, or the ledger refuses it.
2. A table of outputs is made again from the logs, and its sample drawn again from the seed that
   was fixed. When the logs no longer give the same batch, everything is put back and refused: a
   second draw from another batch would be a choice after the fact.
3. The quarantine and the evidence are no results; nobody makes them again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from flows.artefacts import is_as_recorded, read_manifest
from flows.data_errors import ArtefactError, ArtefactFormatError
from flows.estimation import ESTIMATES_FORMAT, INFLUENCE_FORMAT
from flows.ingest import late_batches
from flows.ingest_schema import OUTPUTS_FORMAT
from flows.intake import late_nights
from flows.night import Night, StepOutcome
from flows.progress import Step
from flows.sampling import SAMPLE_FORMAT

SEED_FORMAT = "byline-night-seed/1"
FORMATS = {
    "outputs": OUTPUTS_FORMAT,
    "sample": SAMPLE_FORMAT,
    "influence": INFLUENCE_FORMAT,
    "estimates": ESTIMATES_FORMAT,
}


def mended(ingest: Callable[[Night, Step], StepOutcome]) -> Callable[[Night, Step], StepOutcome]:
    """Set aside what was altered before logs are read, and check that they give the same batch.

    Args:
        ingest: the step that reads them.

    Returns:
        The step.
    """

    def run(night: Night, step: Step) -> StepOutcome:
        moved = _set_aside(night, step.say)
        outcome = ingest(night, step)
        if night.outputs in moved:
            _check_batch(night, moved)
        return outcome

    return run


def _set_aside(night: Night, say: Callable[[str], None]) -> dict[Path, Path]:
    """Move damaged artefacts away; give where each file went."""
    moved: dict[Path, Path] = {}
    # Late tables are written with the night's own logs, before their nights begin.
    own = [(night, kind) for kind in FORMATS if not (night.late and kind == "outputs")]
    late = [(each, "outputs") for each in late_nights(night)] if not night.late else []
    for each, kind in own + late:
        manifest, tables = each.manifest(kind), _tables(each, kind)
        if not manifest.exists() or _is_whole(manifest, tables, FORMATS[kind]):
            continue
        name = each.workspace.relative(tables[0])
        say(f"{name} or its manifest was altered since it was written: it is made again")
        _move(each, kind, moved)
    lost = not night.manifest("outputs").exists()
    if not night.late and lost and night.manifest("sample").exists():
        # A sampled table is never written again; so the sample goes too, and comes back the same.
        _move(night, "sample", moved)
    return moved


def _check_batch(night: Night, moved: dict[Path, Path]) -> None:
    """Put everything back and refuse when the logs give another batch than was sampled."""
    if not night.seed_file.exists():
        return
    try:
        fixed = read_manifest(night.seed_file, SEED_FORMAT)["batch_root"]
    except ArtefactFormatError:
        fixed = "unreadable"
    made = read_manifest(night.manifest("outputs"), OUTPUTS_FORMAT)["batch_root"]
    if made == fixed and not late_batches(night.outputs):
        return
    for path, aside in moved.items():
        aside.replace(path)
    raise ArtefactError(
        f"{night.outputs} was altered since it was written, and cannot be made again: the sample "
        f"was drawn from batch root {fixed}, the logs now give {made}. Everything is as it was "
        f"found. Restore the table from a copy, or the logs as they were (records that came later "
        f"apart), and give the same command again"
    )


def _tables(night: Night, kind: str) -> Sequence[Path]:
    """List the tables that a manifest describes."""
    return {
        "outputs": (night.outputs,),
        "sample": (night.sample,),
        "influence": (night.influence, night.gains),
        "estimates": (night.works, night.creators),
    }[kind]


def _is_whole(manifest: Path, tables: Sequence[Path], form: str) -> bool:
    """Say whether a manifest can be read and its tables are what it says."""
    try:
        recorded = read_manifest(manifest, form)["sha256"]
    except (ArtefactFormatError, KeyError):
        return False
    return set(map(is_as_recorded, tables, _digests(recorded, tables))) == {True}


def _digests(recorded: object, tables: Sequence[Path]) -> list[str]:
    """Give the digest of each table as its manifest calls it; attribution has its own names."""
    if not isinstance(recorded, dict):
        return [str(recorded)]
    called = {"influence": 0, "gains": 1}
    by_place = {called[name]: digest for name, digest in recorded.items() if name in called}
    return [
        str(recorded.get(table.name, by_place.get(place, ""))) for place, table in enumerate(tables)
    ]


def _move(night: Night, kind: str, moved: dict[Path, Path]) -> None:
    """Move an artefact to `damaged/`, the manifest first: without it nothing counts as made."""
    folder = night.workspace.root / "damaged" / kind
    folder.mkdir(parents=True, exist_ok=True)
    for path in (night.manifest(kind), *_tables(night, kind)):
        if path.exists():
            moved[path] = path.replace(folder / path.name)
