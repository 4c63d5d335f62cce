"""Lay an audit pack out as a workspace, as if it had been here when the period was settled.

1. Manifests, tables, agreements and catalogues lie where the flows look for them.
2. The draws become the tables of sample and outputs, as retention leaves them: without texts. A
   note beside the sample says which digest it has now, so its manifest stays what it is.
3. What the flows make on demand from a night's sample and influence (accruals by model version and
   territory, or by another rule) is not taken from the pack where the draws are there: it is made.
4. Only names that a pack may have are written, so nothing leaves the folder (`ledger.audit_frame`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

import polars as pl

from flows.artefacts import (
    RETENTION_FORMAT,
    canonical_json,
    retention_path,
    sha256_bytes,
    sha256_file,
    write_bytes,
    write_parquet,
)
from flows.close import closing_file, inputs_file
from flows.errors import FlowError
from flows.knowledge import keep_catalogue
from flows.period_files import kept_copy
from flows.sampling import SAMPLE_SCHEMA
from flows.settle import EVIDENCE_KINDS
from flows.setup import make_workspace
from flows.workspace import Workspace
from ledger.audit_draws import DRAW_COLUMNS, DRAWS_PREFIX, draws_member
from ledger.audit_frame import OpenPack
from ledger.pack_format import MANIFEST

_NIGHT_FILE = re.compile(r"([a-z-]+)\.(\d{4}-\d\d-\d\d(?:\.late-[0-9a-f]+)?)\.([a-z.]+)")
_TYPES = dict(zip(DRAW_COLUMNS, [pl.String] * 4 + [pl.Int64] * 3, strict=True))
# Of one night; what a header says beyond it is no count of anything.
OUTPUTS_MAX = 10**9
_PIECE = 1 << 20
_PLACES: dict[str, pl.DataType | type[pl.DataType]] = {
    "event_id": pl.String,
    "model_version": pl.String,
    "territory": pl.String,
    "output_tokens": pl.Int64,
}


class ReperformError(FlowError):
    """A pack does not hold what a re-performance needs, or gives another result."""


def period_of(pack: OpenPack) -> str:
    """Read which period a pack is about.

    Raises:
        ReperformError: it names none.
    """
    period = str(json.loads(pack.read(MANIFEST))["period"])
    if not re.fullmatch(r"\d{4}-\d\d", period):
        raise ReperformError(f"{pack.path} is about {period!r}, which is no period YYYY-MM")
    return period


def empty_workspace(home: Path, pack: OpenPack) -> Workspace:
    """Make a workspace with the pool that a pack is about.

    Raises:
        ReperformError: an old pack, of a period without nights, does not say which pool that is.
    """
    names = [n for n in pack.parts if re.fullmatch(r"evidence/estimates\..+\.manifest\.json", n)]
    if "reports/pool.json" in pack.parts:
        said = json.loads(pack.read("reports/pool.json"))
    elif names:
        said = json.loads(pack.read(min(names)))
    else:
        raise ReperformError(
            f"{pack.path} holds no estimates and, being of {pack.format}, does not say of which "
            f"pool it is; nothing was worked out again. Ask for the pack anew"
        )
    pool = {"id": said["pool_id"], "currency": said["currency"]}
    return make_workspace(home, settings={"pool": pool})


def lay_out(workspace: Workspace, pack: OpenPack) -> None:
    """Put a pack's members where a workspace has them."""
    period = period_of(pack)
    places = {
        "evidence/catalogue.json": workspace.catalogue,
        f"evidence/{period}.inputs.json": inputs_file(workspace, period),
        "reports/closing.json": closing_file(workspace, period),
        "reports/parties.yaml": workspace.agreements / "parties.yaml",
    }
    for name in pack.parts:
        folder, _, rest = name.partition("/")
        if name in places:
            write_bytes(places[name], pack.read(name))
        elif folder == "evidence":
            _lay_out_evidence(workspace, pack, rest)
        elif folder == "reports" and (
            opening := re.fullmatch(r"opening\.(\d{4}-\d\d)\.json", rest)
        ):
            write_bytes(closing_file(workspace, opening[1]), pack.read(name))
    for name in pack.parts:
        if name.startswith(DRAWS_PREFIX):
            _lay_out_draws(workspace, pack, Path(name).name.removesuffix(".jsonl"))
    keep_catalogue(workspace)


def _lay_out_evidence(workspace: Workspace, pack: OpenPack, name: str) -> None:
    """Put a file of the evidence where a workspace has it."""
    data = pack.read(f"evidence/{name}")
    stem = name.removesuffix(".json")
    if name.startswith("agreement."):
        write_bytes(workspace.agreements / name, data)
    elif found := _NIGHT_FILE.fullmatch(name):
        kind, night, rest = found.groups()
        if kind in EVIDENCE_KINDS or draws_member(night) not in pack.parts:
            write_bytes(workspace.root / kind / f"{night}.{rest}", data)
    elif stem in {"pools", "rates", "usage"}:
        write_bytes(kept_copy(workspace, stem, sha256_bytes(data)), data)
    else:
        write_bytes(workspace.root / "evidence" / name, data)


def _lay_out_draws(workspace: Workspace, pack: OpenPack, night: str) -> None:
    """Write the tables of sample and outputs that a night's draws stand for."""
    header, *rows = read_draws(pack, night)
    manifest = json.loads((workspace.root / "sample" / f"{night}.manifest.json").read_bytes())
    drawn = pl.DataFrame(rows, schema=_TYPES, orient="row")
    seed = bytes.fromhex(manifest["seed"])
    draws = [hmac.new(seed, e.encode(), hashlib.sha256).hexdigest() for e in drawn["event_id"]]
    texts = [pl.lit(None, pl.String).alias(name) for name in ("prompt_text", "output_text")]
    table = drawn.with_columns(pl.Series("draw_hex", draws, dtype=pl.String), *texts)
    path = workspace.root / "sample" / f"{night}.parquet"
    write_parquet(path, table.select(list(SAMPLE_SCHEMA)))
    note = {"format": RETENTION_FORMAT, "before": manifest["sha256"][path.name]}
    note |= {"after": sha256_file(path)}
    write_bytes(retention_path(path), canonical_json(note))
    write_parquet(workspace.root / "outputs" / f"{night}.parquet", _places(header, drawn))


def read_draws(pack: OpenPack, night: str) -> list[Any]:
    """Read a night's draws: the header, and a list a sampled output."""
    return [json.loads(line) for line in pack.lines(draws_member(night))]


def _places(header: dict[str, Any], drawn: pl.DataFrame) -> pl.DataFrame:
    """Give as many payable outputs as were counted, the sampled ones among them by their names."""
    counted = sum(outputs for _, _, outputs, _ in header["payable"])
    if not 0 <= counted <= OUTPUTS_MAX:
        raise ReperformError(
            f"draws: {header['night']} counts {counted} payable outputs, a night has 0 to "
            f"{OUTPUTS_MAX}; nothing was worked out again. Ask the payer, and keep the pack"
        )
    frames = []
    for model, territory, outputs, tokens in header["payable"]:
        where = pl.col("model_version").eq_missing(model) & pl.col("territory").eq_missing(
            territory
        )
        known = drawn.filter(where)["event_id"].to_list()
        ids = known or [None] * min(outputs, 1)
        # Only the sums of tokens are known, and only they are asked for.
        rows = {
            "event_id": ids,
            "model_version": [model] * len(ids),
            "territory": [territory] * len(ids),
            "output_tokens": [tokens, *[0] * (len(ids) - 1)][: len(ids)],
        }
        frames.append(pl.DataFrame(rows, schema=_PLACES))
        frames += _unnamed(model, territory, outputs - len(ids))
    table = pl.concat(frames, rechunk=False) if frames else pl.DataFrame(schema=_PLACES)
    return table.with_columns(pl.lit(value=True).alias("payable"))


def _unnamed(model: str | None, territory: str | None, outputs: int) -> list[pl.DataFrame]:
    """Give as many rows without a name, in pieces that share one memory."""
    whole, rest = divmod(max(outputs, 0), _PIECE)
    row = {"event_id": [None], "model_version": [model], "territory": [territory]}
    one = pl.DataFrame({**row, "output_tokens": [0]}, schema=_PLACES)
    piece = one.select(pl.all().repeat_by(min(outputs, _PIECE)).explode()) if outputs > 0 else one
    return [piece] * whole + [piece.head(rest)] * (rest > 0)
