"""A stranger's pack that unpacks to more than the machine holds is refused before it is read."""

import io
import json
from types import SimpleNamespace

import polars as pl
import pytest

from flows import cli
from flows.pack_tables import GROWTH, ROOM_BYTES, check_tables
from flows.publish import publish_period
from flows.reperform_layout import OUTPUTS_MAX, ReperformError
from ledger.audit_frame import OpenPack
from ledger.pack import _write_archive
from ledger.pack_format import MANIFEST
from tests.flows.papers import closed_months
from tests.flows.test_pack_attacks import reframed

PERIOD, NIGHT = "2026-01", "2026-01-20"
TABLE = f"evidence/influence.{NIGHT}.parquet"
ZEROS = 10**8


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """The members of a real pack."""
    folder = tmp_path_factory.mktemp("bombs")
    with pytest.MonkeyPatch.context() as patch:
        workspace = closed_months(patch, folder / "home", 1, creators=10)
    publish_period(workspace, PERIOD)
    with OpenPack(workspace.pack(PERIOD)) as pack:
        pack.check_frame()
        return {name: pack.read(name) for name in pack.parts}


@pytest.fixture(scope="module")
def zeros():
    """A table of a hundred million zeros; one piece stands for all, here and in the file."""
    piece = pl.DataFrame({"influence_nanonats": pl.repeat(0, 1 << 20, dtype=pl.Int64, eager=True)})
    whole, rest = divmod(ZEROS, piece.height)
    table = pl.concat([piece] * whole + [piece.head(rest)], rechunk=False)
    file = io.BytesIO()
    table.write_parquet(file, compression="zstd", statistics=False, row_group_size=1 << 20)
    return file.getvalue()


def refused(path, capsys):
    """Re-perform a pack that must be refused, and return why."""
    capsys.readouterr()
    assert cli.run(["audit", "reperform", str(path), "--json"]) == 1
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return json.loads(said.out)["failure"]


def in_a_pack(**files):
    """A pack as `check_tables` sees it, of a few members."""
    data = {name.replace("_", "/") + ".parquet": content for name, content in files.items()}
    parts = {n: SimpleNamespace(member=SimpleNamespace(size=len(d))) for n, d in data.items()}
    return SimpleNamespace(
        parts=parts, read_at=lambda name, at, size: data[name][at : at + max(size, 0)]
    )


def test_a_hundred_million_zeros_in_a_small_file_are_not_unpacked(
    members, zeros, tmp_path, capsys, monkeypatch
):
    """The table and both sizes are named, before any table is opened."""
    assert len(zeros) < 100_000
    assert max(ROOM_BYTES, GROWTH * sum(map(len, members.values()))) < 8 * ZEROS
    path = tmp_path / "p.zip"
    reframed(path, members | {TABLE: zeros})
    monkeypatch.setattr(pl, "read_parquet", None)
    monkeypatch.setattr(pl, "scan_parquet", None)
    told = refused(path, capsys)
    assert f"{TABLE} would unpack to more than" in told
    assert "Ask the payer" in told


def test_many_tables_that_are_too_large_together_are_refused(zeros):
    """Each alone would pass; the room is that of all."""
    small = io.BytesIO()
    pl.DataFrame({"a": pl.repeat(0, 5 * 10**6, dtype=pl.Int64, eager=True)}).write_parquet(small)
    alone = small.getvalue()
    check_tables(in_a_pack(evidence_a=alone))
    with pytest.raises(ReperformError, match=r"evidence/d\.parquet would unpack"):
        check_tables(in_a_pack(**{f"evidence_{n}": alone for n in "abcd"}))
    with pytest.raises(ReperformError, match="would unpack"):
        check_tables(in_a_pack(evidence_a=alone, evidence_b=zeros))


def test_tables_of_our_own_pass(members):
    """What Byline wrote takes a small part of the room."""
    tables = {n: d for n, d in members.items() if n.endswith(".parquet")}
    assert len(tables) == 4
    for data in tables.values():
        check_tables(in_a_pack(evidence_a=data))


@pytest.mark.parametrize(
    ("told", "column", "page"),
    [
        # What is said: rows and values in the footer, bytes and values in the page's own header.
        ("says 10 values and 10 rows of a column that has 1000000", (10, 10), (8, 10**6)),
        ("says 10 values and 99 rows of a column that has 10", (99, 10), (8, 10)),
        ("would unpack to more than", (10**9, 10**9), (8, 10**9)),
        ("would unpack to more than", (10, 10), (10**9, 10)),
        ("a count is -5", (10, 10), (-5, 10)),
    ],
)
def test_a_footer_that_hides_what_its_pages_say_is_refused(told, column, page):
    """The pages are walked: neither of the two headers is believed alone."""
    with pytest.raises(ReperformError, match=told):
        check_tables(in_a_pack(evidence_a=hand_made(*column, *page)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PAR1",
        b"PAR1" + bytes(20) + b"PAR1",
        b"PAR1" + b"\x1c" * 5000 + (5000).to_bytes(4, "little") + b"PAR1",
        b"PAR1" + b"\x19\xfc\xff\xff\xff\xff\x0f" + (7).to_bytes(4, "little") + b"PAR1",
        b"PAR1" + b"\x16" + b"\xff" * 30 + (31).to_bytes(4, "little") + b"PAR1",
    ],
    ids=["empty", "short", "zeros", "nested", "endless list", "long number"],
)
def test_what_is_no_table_is_refused_in_words(data):
    """Also what was made to keep its reader busy."""
    with pytest.raises(ReperformError, match=r"evidence/a\.parquet is not a Parquet file"):
        check_tables(in_a_pack(evidence_a=data))


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        (MANIFEST, b"[" * 200_000, "RecursionError"),
        ("reports/closing.json", b"[" * 200_000, "RecursionError"),
        ("reports/pool.json", b'{"format": 1}', "KeyError"),
        ("evidence/catalogue.json", b"[]", "Error"),
    ],
)
def test_a_file_of_another_shape_is_refused_in_words(members, tmp_path, capsys, name, data, told):
    """Nested too deeply, without its fields, of another type: no traceback."""
    path = tmp_path / "p.zip"
    if name == MANIFEST:
        _write_archive(path, members | {name: data})
    else:
        reframed(path, members | {name: data})
    failure = refused(path, capsys)
    assert told in failure
    assert "not as Byline writes it" in failure


@pytest.mark.parametrize("outputs", [OUTPUTS_MAX + 1, -1, 10**18])
def test_draws_that_count_more_outputs_than_a_night_can_have_are_refused(
    members, tmp_path, capsys, outputs
):
    """A number in a header makes no table of that many rows."""
    name = f"draws/{NIGHT}.jsonl"
    head, _, rest = members[name].partition(b"\n")
    header = json.loads(head)
    header["payable"] = [["tiny-1", None, outputs, 5]]
    path = tmp_path / "p.zip"
    line = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    reframed(path, members | {name: line + b"\n" + rest})
    assert f"counts {outputs} payable outputs" in refused(path, capsys)


def hand_made(rows, values, unpacked, page_values):
    """A file of one column of one page, whose headers say what they are told to."""
    head = _struct({1: 0, 2: unpacked, 3: 4, 5: {1: page_values, 2: 0, 3: 3, 4: 3}})
    pages = head + b"zero"
    column = {1: 2, 4: 0, 5: values, 6: unpacked, 7: len(pages), 9: 4}
    group = {1: [{2: 4, 3: column}], 2: unpacked, 3: rows}
    footer = _struct({1: 1, 3: rows, 4: [group]})
    return b"PAR1" + pages + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def _struct(fields):
    """Write a struct of Thrift's compact protocol: numbers, structs and lists of structs."""
    out, before = b"", 0
    for number, value in sorted(fields.items()):
        kind = {int: 6, dict: 12, list: 9}[type(value)]
        out += bytes([(number - before) << 4 | kind])
        before = number
        if isinstance(value, int):
            out += _varint((value << 1) ^ (value >> 63))
        elif isinstance(value, dict):
            out += _struct(value)
        else:
            out += bytes([len(value) << 4 | 12]) + b"".join(map(_struct, value))
    return out + b"\0"


def _varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])
