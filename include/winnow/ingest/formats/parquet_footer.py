"""What a Parquet file says that its columns unpack to, before any of them is unpacked.

Read here and not by pyarrow, whose accessors of a chunk end the whole process on some damaged
footers. A footer is a struct of Thrift's compact protocol (apache/parquet-format, parquet.thrift;
apache/thrift, thrift-compact-protocol.md); the numbers below are the fields of those documents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_MAX_DEPTH = 16
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_WHOLE = (4, 5, 6)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One column of one row group; `column` is the name at the top of its path."""

    column: str
    n_values: int
    n_bytes: int
    n_packed_bytes: int


def read_footer(footer: bytes) -> list[list[Chunk]]:
    """The chunks of each row group.

    Raises:
        ValueError: It is no footer.
    """
    try:
        groups = _Reader(footer).struct(0)[4]
        return [[_chunk(column[3]) for column in group[1]] for group in groups]
    except (LookupError, TypeError) as error:
        raise ValueError("its footer is damaged") from error


def _chunk(about: dict[int, Any]) -> Chunk:
    return Chunk(about[3][0].decode(errors="replace"), about[5], about[6], about[7])


class _Reader:
    """Values of the compact protocol, one after another; raises IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def struct(self, depth: int) -> dict[int, Any]:
        """A struct as its fields by number."""
        fields: dict[int, Any] = {}
        number = 0
        while header := self._byte():
            step, kind = header >> 4, header & 15
            number = number + step if step else self._signed()
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("its footer is nested too deep")
        if kind in _WHOLE:
            return self._signed()
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            header = self._byte()
            size = header >> 4 if header >> 4 < 15 else self._varint()
            return [self._value(header & 15, depth + 1) for _ in range(self._fitting(size))]
        if kind == _MAP:
            size = self._fitting(self._varint())
            kinds = self._byte() if size else 0
            each = (kinds >> 4, kinds & 15)
            return [tuple(self._value(k, depth + 1) for k in each) for _ in range(size)]
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        if kind == _DOUBLE:
            return self._bytes(8)
        raise ValueError("its footer holds a value of no known kind")

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, n: int) -> bytes:
        self._at += self._fitting(n)
        return self._data[self._at - n : self._at]

    def _fitting(self, n: int) -> int:
        """`n` things of at least a byte each, if they can follow."""
        if n > len(self._data) - self._at:
            raise ValueError("its footer says more than it holds")
        return n

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
        return value | byte << shift

    def _signed(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
