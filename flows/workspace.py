"""One installation's folder: where every artefact lies, and nothing else.

Only this module spells a path of the workspace, so that a step, a worker on another machine and
an auditor look in the same place. All paths in messages are relative to the root.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - `date` is the argument's name everywhere
from pathlib import Path

from flows.errors import WorkspaceError
from flows.settings import FILE_NAME, Settings, load_settings
from flows.settings_sections import is_url


def refuse_url(folder: Path) -> None:
    """Refuse a URL as a workspace: its files are locked and replaced whole.

    Raises:
        WorkspaceError: it is one.
    """
    if is_url(str(folder)):
        raise WorkspaceError(
            f"workspace {folder} is a URL, and a workspace is a folder: its files are locked and "
            f"replaced whole. Nothing was done; mount it and give the folder, or read only logs "
            f"from URLs (--log)"
        )


@dataclass(frozen=True)
class Workspace:
    """The folder of one installation with its settings.

    Args:
        home: the folder of `byline.toml`, the keys and the SQLite file.
        settings: the settings read from it.
    """

    home: Path
    settings: Settings

    @classmethod
    def open(cls, home: Path) -> Workspace:
        """Open a folder, which must exist.

        Raises:
            WorkspaceError: there is no such folder.
            SettingsError: its settings cannot be read.
        """
        refuse_url(home)
        if not home.is_dir():
            raise WorkspaceError(
                f"workspace {home} is not a folder; make it with `byline init --dir {home}`"
            )
        return cls(home.resolve(), load_settings(home))

    @property
    def root(self) -> Path:
        """Where artefacts lie: `store.root`, relative to the workspace folder."""
        return (self.home / self.settings.store.root).resolve()

    @property
    def ledger_url(self) -> str:
        """The books' database: the url in the settings, or SQLite in this folder."""
        return self.settings.ledger.url or f"sqlite:///{self.home / 'byline.db'}"

    @property
    def settings_file(self) -> Path:
        """The settings file."""
        return self.home / FILE_NAME

    @property
    def signing_key(self) -> Path:
        """The checkpoint signer's private key."""
        return self.home / self.settings.sign.key

    @property
    def public_key(self) -> Path:
        """The checkpoint signer's public key, for those who verify."""
        return self.signing_key.with_suffix(".pub")

    @property
    def index_key(self) -> Path:
        """The private key (PEM) that signs the gradient index, where there is one."""
        return self.home / "keys" / "index.pem"

    @property
    def hmac_key(self) -> Path:
        """The key that turns tenant and user ids into pseudonyms."""
        return self.home / "keys" / "hmac.key"

    @property
    def corpus(self) -> Path:
        """The training documents."""
        return self.root / "corpus" / "corpus.jsonl"

    @property
    def decoys(self) -> Path:
        """Documents of the same kinds, never trained on and never paid."""
        return self.root / "corpus" / "decoys.jsonl"

    @property
    def catalogue(self) -> Path:
        """Who owns which work, and which document belongs to which work."""
        return self.root / "corpus" / "catalogue.json"

    @property
    def model(self) -> Path:
        """The final model, with its recipe and checkpoints beside it."""
        return self.root / "model"

    @property
    def index(self) -> Path:
        """The gradient index."""
        return self.root / "index"

    @property
    def agreements(self) -> Path:
        """The native agreements, one YAML file each."""
        return self.root / "agreements"

    @property
    def logs(self) -> Path:
        """Raw production logs."""
        return self.root / "logs"

    @property
    def checkpoints(self) -> Path:
        """Copies of the signed checkpoints."""
        return self.root / "checkpoints"

    @property
    def locks(self) -> Path:
        """Lock files, one per thing that must not run twice at once."""
        return self.home / "locks"

    @property
    def prefect_home(self) -> Path:
        """Everything Prefect writes."""
        return self.home / "prefect"

    @property
    def shards(self) -> Path:
        """Influence of single shards, named by the digest of what they were made from."""
        return self.root / "influence" / "shards"

    def night_file(self, kind: str, date: Date, suffix: str, *, late: str = "") -> Path:
        """Name one night's file.

        Args:
            kind: folder of the artefact: `outputs`, `sample`, `influence`, `estimates`, ...
            date: the night.
            suffix: what follows the date, such as `.parquet` or `.manifest.json`.
            late: for a late batch, the first characters of its digest.

        Returns:
            `<root>/<kind>/<date>[.late-<digest>]<suffix>`.
        """
        return self.root / kind / f"{self.night_name(date, late=late)}{suffix}"

    def night_name(self, date: Date, *, late: str = "") -> str:
        """Name one night, or one late batch of it, the same way in every artefact."""
        return f"{date.isoformat()}.late-{late}" if late else date.isoformat()

    def reports(self, period: str) -> Path:
        """Name the folder of a period's reports."""
        return self.root / "reports" / period

    def pack(self, period: str, *, with_frame: bool = False) -> Path:
        """Name the audit pack of a period; the one with frames is another file."""
        return self.root / "packs" / f"{period}{'.frame' * with_frame}.byline.zip"

    def relative(self, path: Path) -> str:
        """Give a path as messages and people read it: relative to the root where it is inside."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def require(self, path: Path, made_by: str) -> Path:
        """Return a path that must exist.

        Raises:
            WorkspaceError: it does not; the text names the command that makes it.
        """
        if not path.exists():
            raise WorkspaceError(
                f"{path} is missing from workspace {self.home}; it is made by {made_by}"
            )
        return path
