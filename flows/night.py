"""One night, or one late batch of it: what is settled, where its files are, what a step says."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date as Date  # noqa: N812 - `date` is the field's name everywhere
from pathlib import Path
from typing import Any

from flows.workspace import Workspace


@dataclass(frozen=True)
class StepOutcome:
    """What a step did.

    Args:
        text: for the person who watches.
        worked: False when everything was there already.
        values: counts and names for machines; JSON values only.
    """

    text: str
    worked: bool = True
    values: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Give the outcome as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Night:
    """What one run settles.

    Args:
        workspace: the installation.
        date: the night.
        logs: files, folders, globs or fsspec URLs that belong to this run, in a stable order.
        late: for records that came after the night was settled, the first characters of the
            digest of their files; empty for the night itself.
        approved_by: who approves an adjustment; only late batches need it.
    """

    workspace: Workspace
    date: Date
    logs: tuple[str | Path, ...]
    late: str = ""
    approved_by: str | None = None

    @property
    def name(self) -> str:
        """The name of every artefact of this run."""
        return self.workspace.night_name(self.date, late=self.late)

    @property
    def outputs(self) -> Path:
        """Every canonical record, payable or not."""
        return self._file("outputs", ".parquet")

    @property
    def sample(self) -> Path:
        """The payable outputs that were drawn."""
        return self._file("sample", ".parquet")

    @property
    def influence(self) -> Path:
        """Influence of every work on every sampled output."""
        return self._file("influence", ".parquet")

    @property
    def gains(self) -> Path:
        """What training gained on every sampled output."""
        return self._file("influence", ".gains.parquet")

    @property
    def works(self) -> Path:
        """What every work earned."""
        return self._file("estimates", ".works.parquet")

    @property
    def creators(self) -> Path:
        """What every creator earned."""
        return self._file("estimates", ".creators.parquet")

    @property
    def cells(self) -> Path:
        """What every work earned by model version and territory, where a term asks for it."""
        return self._file("cells", ".parquet")

    @property
    def seed_file(self) -> Path:
        """The checkpoint the night's seed was made from, fixed before anything is scored."""
        return self._file("nights", ".seed.json")

    def table(self, kind: str, part: str = "") -> Path:
        """Name a table of a kind, or one of its parts where it has several."""
        return self._file(kind, f".{part}.parquet" if part else ".parquet")

    def manifest(self, kind: str) -> Path:
        """Name the manifest of one of this night's artefacts."""
        return self._file(kind, ".manifest.json")

    @classmethod
    def of(
        cls, folder: str, date: str, logs: list[str], late: str, approved_by: str | None
    ) -> Night:
        """Make a night from plain JSON values, as a flow's parameters are."""
        workspace = Workspace.open(Path(folder))
        return cls(workspace, Date.fromisoformat(date), tuple(logs), late, approved_by)

    def _file(self, kind: str, suffix: str) -> Path:
        return self.workspace.night_file(kind, self.date, suffix, late=self.late)
