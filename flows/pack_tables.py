"""Measure the tables of a stranger's pack before any of them is unpacked.

A table of a few kilobytes may unpack to more than any memory holds: ten billion zeros compress to
nothing. A pack says who signed it only to `byline audit verify`; re-performance opens what anybody
hands over, so before the first table is read

1. every page header of every table is walked, and the footer must say the same; what the rows would
   take is added up: unpacked bytes of the pages, and for each value the bytes that a column keeps;
2. all tables of a pack together may take ROOM_BYTES, or GROWTH times the pack where that is more.

Only the frame of the format is read here (Thrift's compact protocol); polars reads the values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from flows.reperform_layout import ReperformError
from ledger.audit_frame import OpenPack

ROOM_BYTES: Final = 128 << 20
GROWTH: Final = 100
# What a column keeps for a value: a number eight bytes, anything else a view of sixteen.
_VALUE_BYTES: Final = {0: 1, 1: 8, 2: 8, 4: 8, 5: 8}
_VIEW_BYTES: Final = 16
_MAGIC: Final = b"PAR1"
_HEADER_BYTES_MAX: Final = 1 << 16
_DEPTH_MAX: Final = 16
_BOOL_TRUE, _BOOL_FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = (
    1, 2, 3, 7, 8, 9, 10, 11, 12,
)  # fmt: skip

# Fields of a column's description and of a page's header.
_DATA_AT, _DICTIONARY_AT = 9, 11
_DATA_PAGES, _DICTIONARY_PAGE = (5, 8), 7

Struct = dict[int, Any]


class _FrameError(Exception):
    """The bytes are not the frame of a Parquet file."""


class _Compact:
    """Reads structs of Thrift's compact protocol: field number -> value.

    Args:
        data: the bytes.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def struct(self, depth: int = 0) -> Struct:
        """Read one struct; of a field that stands twice the last value counts."""
        if depth > _DEPTH_MAX:
            raise _FrameError("structs are nested too deeply")
        fields: Struct = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._signed()
            fields[number] = self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in {_BOOL_TRUE, _BOOL_FALSE}:
            return kind == _BOOL_TRUE
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in {_LIST, _SET}:
            return self._list(depth + 1)
        if kind == _MAP:
            return self._map(depth + 1)
        return self._plain(kind)

    def _plain(self, kind: int) -> Any:
        if kind == _BYTE:
            return self._byte()
        if kind == _DOUBLE:
            return self._take(8)
        if kind == _BINARY:
            return self._take(self._varint())
        if _BYTE < kind < _DOUBLE:
            return self._signed()
        raise _FrameError(f"a field is of the unknown type {kind}")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count, kind = head >> 4, head & 15
        count = self._varint() if count == 15 else count
        return [self._element(kind, depth) for _ in range(count)]

    def _map(self, depth: int) -> list[tuple[Any, Any]]:
        count = self._varint()
        kinds = self._byte() if count else 0
        pair = kinds >> 4, kinds & 15
        return [
            (self._element(pair[0], depth), self._element(pair[1], depth)) for _ in range(count)
        ]

    def _element(self, kind: int, depth: int) -> Any:
        # In a collection a truth value is a byte of its own.
        return self._byte() if kind in {_BOOL_TRUE, _BOOL_FALSE} else self._value(kind, depth)

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, count: int) -> bytes:
        taken = self.data[self.at : self.at + count]
        if len(taken) < count:
            raise _FrameError("the bytes end too soon")
        self.at += count
        return taken

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise _FrameError("a number is too long")

    def _signed(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


def check_tables(pack: OpenPack) -> None:
    """Refuse a pack whose tables would take more room than it can have.

    Args:
        pack: its frame was checked.

    Raises:
        ReperformError: a table's frame cannot be read, or all together are too large.
    """
    size = sum(part.member.size for part in pack.parts.values())
    allowed = max(ROOM_BYTES, GROWTH * size)
    taken = 0
    for name in sorted(pack.parts):
        if not name.endswith(".parquet"):
            continue
        try:
            for room in _rooms(pack, name):
                taken += room
                if taken > allowed:
                    raise ReperformError(
                        f"pack: {name} would unpack to more than {allowed >> 20} MiB with the "
                        f"tables before it, the pack has {size} bytes; no table of Byline's is "
                        f"like that, and nothing was read. Ask the payer, and keep the pack"
                    )
        except (_FrameError, KeyError, TypeError, AttributeError) as error:
            raise ReperformError(
                f"pack: {name} is not a Parquet file that can be read ({error}); nothing was "
                f"worked out again. Ask the payer, and keep the pack"
            ) from error


def _rooms(pack: OpenPack, name: str) -> Iterator[int]:
    """Give what the parts of a table would take, one after the other."""
    size = pack.parts[name].member.size
    end = pack.read_at(name, max(0, size - 8), 8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != _MAGIC or pack.read_at(name, 0, 4) != _MAGIC or length + 12 > size:
        raise _FrameError("it does not begin and end as one")
    footer = _Compact(pack.read_at(name, size - 8 - length, length)).struct()
    rows = sum(_count(group[3]) for group in footer[4])
    if footer[3] != rows:
        raise _FrameError(f"its footer says {footer[3]} rows, its groups {rows}")
    for group in footer[4]:
        if group[3] and not group[1]:
            raise _FrameError(f"a group has {group[3]} rows and no column")
        for chunk in group[1]:
            yield from _chunk_rooms(pack, name, chunk[3], group[3])


def _chunk_rooms(pack: OpenPack, name: str, column: Struct, rows: int) -> Iterator[int]:
    """Walk the pages of one column of one group of rows."""
    width = _VALUE_BYTES.get(column[1], _VIEW_BYTES)
    at = min(column[place] for place in (_DATA_AT, _DICTIONARY_AT) if place in column)
    end = at + _count(column[7])
    if at < 0 or end > pack.parts[name].member.size:
        raise _FrameError("a column lies outside of the file")
    values = 0
    while at < end:
        reader = _Compact(pack.read_at(name, at, min(_HEADER_BYTES_MAX, end - at)))
        header = reader.struct()
        at += reader.at + _count(header[3])
        listed = sum(_count(header[page][1]) for page in _DATA_PAGES if page in header)
        values += listed
        words = header[_DICTIONARY_PAGE][1] if _DICTIONARY_PAGE in header else 0
        yield _count(header[2]) + width * (listed + _count(words))
    if values != column[5] or values < rows:
        raise _FrameError(
            f"the footer says {column[5]} values and {rows} rows of a column that has {values}"
        )


def _count(value: int) -> int:
    if value < 0:
        raise _FrameError(f"a count is {value}")
    return value
