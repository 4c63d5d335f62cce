"""Load the native agreement files: signed deals, parties and works, in YAML.

1. Every fault of every file is found in one pass, each with file, line, field, what was found and
   what was expected. With one fault anywhere nothing is loaded.
2. The shape is in `native.schema.json`, which editors can use; what must hold between fields and
   between files is checked here.
3. A party that a file names must be declared in one of the files.
4. An agreement keeps the text it was read from and its digest; statements cite the digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from contracts.agreement import Agreement, AgreementBook
from contracts.errors import BadFilesError, ContractsError, Fault
from contracts.importers.native_build import build_agreement, build_party, build_work
from contracts.importers.native_terms import Builder
from contracts.importers.yaml_text import YamlText, read_yaml
from contracts.party import Party
from contracts.work import Work

AGREEMENT_FORMAT = "byline-agreement/1"
PARTIES_FORMAT = "byline-parties/1"
WORKS_FORMAT = "byline-works/1"
SUFFIXES = (".yaml", ".yml")


def load_agreements(folder: Path | str) -> AgreementBook:
    """Load every agreement, party and work file of a folder, or none.

    Args:
        folder: a folder of .yaml files; folders inside it are not read.

    Returns:
        The agreements with the parties and works that the files declare.

    Raises:
        BadFilesError: every fault found.
        OSError: a file cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        fault = Fault(str(folder), 1, "(folder)", "no such folder", "a folder of .yaml files")
        raise BadFilesError([fault])
    texts = {}
    faults = []
    for path in sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES):
        try:
            texts[str(path)] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            faults.append(Fault(str(path), 1, "(file)", str(error), "UTF-8 text"))
    return parse_agreements(texts, faults=faults)


def parse_agreements(
    texts: Mapping[str, str],
    *,
    faults: Iterable[Fault] = (),
    known_parties: Mapping[str, Party] | None = None,
) -> AgreementBook:
    """Load agreement, party and work files from their texts.

    Args:
        texts: YAML text by file name.
        faults: faults found before, to be listed with the rest.
        known_parties: parties declared elsewhere, such as in the database.

    Returns:
        The agreements with the parties and works that the files declare.

    Raises:
        BadFilesError: every fault found.
    """
    loader = _Loader()
    found = list(faults)
    for file, text in texts.items():
        document = read_yaml(text, file=file)
        if not document.faults:
            loader.add(document, text)
        found += document.faults
    found += loader.check_names(known_parties or {})
    if found:
        raise BadFilesError(found)
    try:
        return AgreementBook(tuple(loader.agreements), loader.parties, loader.works)
    except ContractsError as error:
        raise BadFilesError([Fault("(all files)", 1, "version", "twice", str(error))]) from error


@cache
def schema() -> dict[str, Any]:
    """Return the JSON Schema of the agreement files."""
    text = resources.files("contracts.importers").joinpath("native.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@cache
def _validator() -> Draft202012Validator:
    """Return the validator, compiled once."""
    return Draft202012Validator(schema())


class _Loader:
    """Collects what the files declare, and where each thing was declared."""

    def __init__(self) -> None:
        self.agreements: list[Agreement] = []
        self.parties: dict[str, Party] = {}
        self.works: dict[str, Work] = {}
        self._named: list[tuple[YamlText, tuple[str | int, ...], str]] = []
        self._versions: dict[tuple[str, int], str] = {}
        self._currencies: dict[str, tuple[str, str]] = {}

    def add(self, document: YamlText, text: str) -> None:
        """Check one document against the schema and build what it declares."""
        if not isinstance(document.value, dict):
            document.fault((), document.value, "a mapping that begins with format:")
            return
        errors = list(_validator().iter_errors(document.value))
        for error in errors:
            _note(document, error)
        for error in errors:
            _cut(document.value, error)
        kind = document.value.get("format")
        if kind == AGREEMENT_FORMAT:
            self._add_agreement(document, text)
        elif kind == PARTIES_FORMAT:
            self._add_parties(document)
        elif kind == WORKS_FORMAT:
            self._add_works(document)

    def _add_agreement(self, document: YamlText, text: str) -> None:
        """Build one agreement."""
        digest = hashlib.sha256(text.encode()).hexdigest()
        agreement = build_agreement(Builder(document), text, digest)
        for name in ("licensor", "payee"):
            if name in document.value:
                self._named.append((document, (name,), document.value[name]))
        if agreement is None:
            return
        key = (agreement.agreement_id, agreement.version)
        if key in self._versions:
            expected = f"a version of its own; version {key[1]} is in {self._versions[key]}"
            document.fault(("version",), key[1], expected)
        self._versions.setdefault(key, document.file)
        told = agreement.currency, document.file
        first, file = self._currencies.setdefault(agreement.agreement_id, told)
        if agreement.currency != first:
            # Advances, reserves and tiers are carried from version to version as plain units.
            expected = f"{first} as in {file}; terms in another currency are another agreement"
            document.fault(("currency",), agreement.currency, expected)
        self.agreements.append(agreement)

    def _add_parties(self, document: YamlText) -> None:
        """Build the parties of one file."""
        for i, row in enumerate(document.value.get("parties", [])):
            party = build_party(Builder(document), ("parties", i), row)
            if party is None:
                continue
            if party.party_id in self.parties:
                document.fault(("parties", i, "party_id"), party.party_id, "a party declared once")
            self.parties[party.party_id] = party
            if "payee" in row:
                self._named.append((document, ("parties", i, "payee"), row["payee"]))

    def _add_works(self, document: YamlText) -> None:
        """Build the works of one file."""
        for i, row in enumerate(document.value.get("works", [])):
            work = build_work(Builder(document), ("works", i), row)
            for j, split in enumerate(row.get("splits", [])):
                path = ("works", i, "splits", j, "party_id")
                if "party_id" in split:
                    self._named.append((document, path, split["party_id"]))
            if work is None:
                continue
            if work.work_id in self.works:
                document.fault(("works", i, "work_id"), work.work_id, "a work declared once")
            self.works[work.work_id] = work

    def check_names(self, known_parties: Mapping[str, Party]) -> list[Fault]:
        """Return a fault for every party that is named but declared nowhere."""
        faults = []
        for document, path, party_id in self._named:
            if party_id not in self.parties and party_id not in known_parties:
                known = len(document.faults)
                document.fault(path, party_id, "a party declared in a byline-parties/1 file")
                faults += document.faults[known:]
        return faults


def _cut(value: Any, error: ValidationError) -> None:
    """Remove what has a wrong shape, so that the rest of the document can still be checked."""
    path = list(error.absolute_path)
    wrong: list[str | int] = []
    if error.validator == "additionalProperties":
        rule = error.schema if isinstance(error.schema, dict) else {}
        found: Any = error.instance
        wrong = [name for name in found if name not in rule.get("properties", {})]
    elif error.validator != "required":
        # An item of a list takes the list with it, or the items after it would change places.
        while path and isinstance(path[-1], int):
            path.pop()
        wrong = [path.pop()] if path else []
    for part in path:
        inside = isinstance(value, list) or (isinstance(value, dict) and part in value)
        value = value[part] if inside else None
    if isinstance(value, dict):
        for name in wrong:
            value.pop(name, None)


def _note(document: YamlText, error: ValidationError) -> None:
    """Turn one schema error into a fault that says what was expected."""
    path = tuple(error.absolute_path)
    rule = error.schema if isinstance(error.schema, dict) else {}
    found: Any = error.instance
    wanted: Any = error.validator_value
    if error.validator == "required":
        present = set(found)
        for name in wanted:
            if name not in present and f"'{name}'" in error.message:
                document.fault((*path, name), "nothing", f"the field {name}")
    elif error.validator == "additionalProperties":
        allowed = sorted(rule.get("properties", {}))
        for name in found:
            if name not in allowed:
                document.fault((*path, name), name, f"one of {', '.join(allowed)}")
    elif error.validator == "enum":
        values = ", ".join(str(value) for value in wanted)
        document.fault(path, found, f"one of {values}")
    else:
        document.fault(path, found, str(rule.get("title", error.message)))
