"""Reads an ONNX of any size in little memory: everything but the data of its larger tensors.

An ONNX is a protobuf message, and protobuf's own parsers hold all of it, several times over. Nearly all of it is weights, which no
check looks at. So the wire format is read field by field here, with what is large replaced by a placeholder of the same field:
what protobuf then makes of the rest is what it would have made of the file, weights apart.
https://protobuf.dev/programming-guides/encoding/, the fields' numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto

The file may be hostile: lengths, depth, the number of fields and what is kept are all bounded, and every fault is a Malformed.
"""

import enum
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase

KEPT_BYTES = 1024
"""A tensor's data up to this size is kept: shapes and axes are such."""
MAX_KEPT_BYTES = 32 * 1024 * 1024
"""Of all that is kept. The graph of a YOLO has less than 1 MiB."""
MAX_FIELDS = 1_000_000
"""Protobuf needs some hundred bytes for a message of two."""
MAX_DEPTH = 100
"""Protobuf's own parsers go no deeper."""
MAX_RANK = 64
WINDOW = 64 * 1024
"""Bytes that are read at once."""
VARINT_BYTES = 10


class Malformed(ValueError):
    """What is read is no ONNX, or none that anybody's exporter writes; the text says why."""


class Kind(enum.Enum):
    """Messages of ONNX that lead to tensors."""

    MODEL = enum.auto()
    GRAPH = enum.auto()
    NODE = enum.auto()
    ATTRIBUTE = enum.auto()
    TRAINING = enum.auto()
    FUNCTION = enum.auto()
    SPARSE_TENSOR = enum.auto()
    TENSOR = enum.auto()


class Wire(enum.IntEnum):
    """How a field's value is written. 3 and 4 are groups, which ONNX has none of."""

    VARINT = 0
    FIXED64 = 1
    LENGTH = 2
    FIXED32 = 5


INNER: dict[Kind, dict[int, Kind]] = {
    Kind.MODEL: {7: Kind.GRAPH, 20: Kind.TRAINING, 25: Kind.FUNCTION},
    Kind.GRAPH: {1: Kind.NODE, 5: Kind.TENSOR, 15: Kind.SPARSE_TENSOR},
    Kind.NODE: {5: Kind.ATTRIBUTE},
    Kind.ATTRIBUTE: {5: Kind.TENSOR, 6: Kind.GRAPH, 10: Kind.TENSOR, 11: Kind.GRAPH, 22: Kind.SPARSE_TENSOR, 23: Kind.SPARSE_TENSOR},
    Kind.TRAINING: {1: Kind.GRAPH, 2: Kind.GRAPH},
    Kind.FUNCTION: {7: Kind.NODE, 11: Kind.ATTRIBUTE},
    Kind.SPARSE_TENSOR: {1: Kind.TENSOR, 2: Kind.TENSOR},
}
"""Which fields of a message are messages that are read in their turn; all others are taken as they are."""
STRING = 4
"""Field of an attribute in which an operator can carry anything, an engine for example."""
DIMS, DATA_TYPE, RAW_DATA = 1, 2, 9
DATA = {4: bytes(8), 5: bytes(1), 6: b"", 7: bytes(1), RAW_DATA: bytes(16), 10: bytes(16), 11: bytes(1)}
"""Fields of a tensor with its values, and what stands for them where they are left out: one value of any type."""
BITS = {
    **dict.fromkeys((21, 22, 23), 4),
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20), 8),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((7, 11, 13, 14), 64),
    15: 128,
}
"""Of one value in raw_data, by data_type."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message, at its place in the file."""

    number: int
    wire: int
    start: int
    """Where its tag begins."""
    value: int
    """Where its value begins, behind the length."""
    end: int


def read(file: BufferedIOBase) -> bytes:
    """The ModelProto of an open file without the data of its larger tensors, serialized. Raises Malformed."""
    size = file.seek(0, os.SEEK_END)
    return Reader(file).stripped(Kind.MODEL, 0, size, 0)


class Reader:
    """Reads an open file by position, through a window."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file
        self._window, self._at = b"", 0
        self._fields = self._kept = 0

    def stripped(self, kind: Kind, start: int, end: int, depth: int) -> bytes:
        """A message without the data of the larger tensors in it."""
        if depth > MAX_DEPTH:
            raise Malformed(f"it is nested deeper than {MAX_DEPTH}")
        if kind is Kind.TENSOR:
            return self.tensor(start, end)
        parts: list[bytes] = []
        for field in self.fields(start, end):
            inner = INNER[kind].get(field.number) if field.wire == Wire.LENGTH else None
            if inner is not None:
                parts.append(framed(field.number, self.stripped(inner, field.value, field.end, depth + 1)))
            elif kind is Kind.ATTRIBUTE and field.number == STRING and field.end - field.value > KEPT_BYTES:
                parts.append(framed(STRING, b""))
            else:
                parts.append(self.kept(field.start, field.end))
        return b"".join(parts)

    def tensor(self, start: int, end: int) -> bytes:
        """A tensor; a larger one with a single value and a shape that says so."""
        if sum(field.end - field.value for field in self.fields(start, end) if field.number in DATA) <= KEPT_BYTES:
            return self.kept(start, end)
        parts: list[bytes] = []
        dims: list[int] = []
        data_type = 0
        lengths: dict[int, int] = {}
        for field in self.fields(start, end):
            if field.number in DATA:
                lengths[field.number] = lengths.get(field.number, 0) + field.end - field.value
            elif field.number == DIMS:
                dims += self.numbers(field)
            else:
                parts.append(self.kept(field.start, field.end))
                if field.number == DATA_TYPE:
                    data_type = sum(self.numbers(field))
        if len(dims) > MAX_RANK:
            raise Malformed(f"a tensor has {len(dims)} dimensions")
        wanted = -(-math.prod(dims) * BITS.get(data_type, 0) // 8)
        if data_type in BITS and lengths.get(RAW_DATA, wanted) != wanted:
            raise Malformed(f"a tensor of shape {dims[:8]} has {lengths[RAW_DATA]} bytes and not {wanted}")
        return b"".join((*parts, encoded(DIMS << 3), encoded(1), *(framed(number, DATA[number]) for number in lengths)))

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """The fields of a message, in their order. Raises Malformed where one leads out of it."""
        at = start
        while at < end:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise Malformed(f"it has more than {MAX_FIELDS} fields")
            tag, value = self.varint(at, end)
            match tag & 7:
                case Wire.VARINT:
                    _, after = self.varint(value, end)
                case Wire.FIXED64:
                    after = value + 8
                case Wire.FIXED32:
                    after = value + 4
                case Wire.LENGTH:
                    length, value = self.varint(value, end)
                    after = value + length
                case wire:
                    raise Malformed(f"a field is written in wire type {wire}")
            if after > end or tag >> 3 == 0:
                raise Malformed("a field is longer than the message it is in")
            yield Field(number=tag >> 3, wire=tag & 7, start=at, value=value, end=after)
            at = after

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """A number of one to ten bytes, and the position behind it."""
        number = 0
        for index, byte in enumerate(self.window(at, min(VARINT_BYTES, end - at))):
            number |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return number, at + index + 1
        raise Malformed("it ends in the middle of a number")

    def numbers(self, field: Field) -> list[int]:
        """The values of a field of a few numbers, written one by one or packed."""
        if field.wire not in (Wire.VARINT, Wire.LENGTH) or field.end - field.value > KEPT_BYTES:
            raise Malformed("a shape or type is written in another way than they are")
        found, at = [], field.value
        while at < field.end:
            number, at = self.varint(at, field.end)
            found.append(number)
        return found

    def kept(self, start: int, end: int) -> bytes:
        """Bytes that are taken as they are."""
        self._kept += end - start
        if self._kept > MAX_KEPT_BYTES:
            raise Malformed(f"it has more than {MAX_KEPT_BYTES // 1024**2} MiB besides its weights")
        return self.window(start, end - start)

    def window(self, at: int, length: int) -> bytes:
        """`length` bytes from a position on. Raises Malformed where the file has fewer."""
        offset = at - self._at
        if offset < 0 or offset + length > len(self._window):
            self._file.seek(at)
            self._window, self._at, offset = self._file.read(max(length, WINDOW)), at, 0
        found = self._window[offset : offset + length]
        if len(found) < length:
            raise Malformed("it ends before it says it does")
        return found


def framed(number: int, content: bytes) -> bytes:
    """A field of bytes: its tag, its length and the bytes."""
    return encoded(number << 3 | Wire.LENGTH) + encoded(len(content)) + content


def encoded(number: int) -> bytes:
    """A number as protobuf writes it: seven bits a byte, the lowest first."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
