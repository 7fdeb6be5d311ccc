"""A picture's file to pixels, as OpenCV reads it for Ultralytics: 8 bits, BGR, turned as its EXIF says, without alpha.

What a file says of itself is checked before a decoder sees it: the format, the number of pixels, and that it has an end. libjpeg fills up what is missing
with grey and only warns.
"""

import base64
import binascii
import re
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BASE64 = (b"/9j/", b"iVBORw0KGgo", b"UklGR")
"""How the three formats begin in Base64, for requests that are JSON. No picture's file begins so."""
DATA_URL = re.compile(rb"data:image/[a-z]+;base64,")
PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"
START_OF_SCAN = 0xDA
FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Markers of JPEG's frame headers; the three others of that row are tables."""
BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""


class PictureError(ValueError):
    """The file is no picture that can be answered; the message is for who sent it."""


@dataclass(frozen=True)
class Limits:
    """Of one picture: spec.pictures.maxBytes and maxPixels."""

    max_bytes: int
    max_pixels: int


def decode(content: bytes, limits: Limits) -> Array:
    """Height x width x 3, uint8, BGR. Raises PictureError."""
    content = plain(content, limits)
    check(content, limits)
    try:
        picture: Array | None = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise PictureError(f"the {kind(content)} file cannot be decoded: {error.err}") from error
    if picture is None:
        raise PictureError(f"the {kind(content)} file cannot be decoded: it is damaged")
    return picture


def plain(content: bytes, limits: Limits) -> bytes:
    """The file itself, where it came as Base64, alone or in a data URL, as browsers write one. Raises PictureError."""
    if found := DATA_URL.match(content):
        content = content[found.end() :]
    if not content.startswith(BASE64) or len(content) > limits.max_bytes * 2:
        return content
    try:
        return base64.b64decode(content)
    except binascii.Error as error:
        raise PictureError(f"the picture begins as Base64 and is none: {error}") from error


def check(content: bytes, limits: Limits) -> None:
    """What can be told without decoding. Raises PictureError."""
    if not content:
        raise PictureError("the picture is empty: send the bytes of a JPEG, PNG or WebP file")
    if len(content) > limits.max_bytes:
        raise PictureError(f"the picture has {len(content)} bytes, spec.pictures.maxBytes allows {limits.max_bytes}")
    name = kind(content)
    if not name:
        raise PictureError(f"the picture is no JPEG, PNG or WebP file: it begins with {content[:8]!r}")
    width, height, whole = {"JPEG": jpeg, "PNG": png, "WebP": webp}[name](content)
    if width * height > limits.max_pixels:
        raise PictureError(f"the picture has {width} x {height} pixels, spec.pictures.maxPixels allows {limits.max_pixels}")
    if not whole:
        raise PictureError(f"the {name} file is cut off: its end is missing")


def kind(content: bytes) -> str:
    """JPEG, PNG, WebP, or nothing."""
    if content.startswith(JPEG):
        return "JPEG"
    if content.startswith(PNG):
        return "PNG"
    return "WebP" if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else ""


def jpeg(content: bytes) -> tuple[int, int, bool]:
    """Width, height, and whether the end is there. Within a scan 0xff is always followed by 0 or a marker, so the end's marker cannot be pixels."""
    width, height, at = 0, 0, 2
    while at + 4 <= len(content):
        if content[at] != 0xFF:
            raise PictureError("the JPEG file is damaged: a segment does not begin where the one before it ends")
        marker = content[at + 1]
        if marker == 0xFF or marker in BARE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in FRAMES and at + 9 <= len(content):
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
        if marker == START_OF_SCAN:
            return width, height, content.find(JPEG_END, at) >= 0
        at += 2 + struct.unpack(">H", content[at + 2 : at + 4])[0]
    return width, height, False


def png(content: bytes) -> tuple[int, int, bool]:
    """Width, height, and whether the end is there. OpenCV fills as much memory as a damaged length says, so lengths and checksums are looked at here."""
    if len(content) < 24:
        return 0, 0, False
    width, height = struct.unpack(">II", content[16:24])
    at = len(PNG)
    while at + 12 <= len(content):
        length, name = struct.unpack(">I4s", content[at : at + 8])
        end = at + 12 + length
        if end > len(content):
            break
        # Of chunks that nobody needs to read, in lower case, many a writer gets it wrong.
        if name[:1].isupper() and struct.unpack(">I", content[end - 4 : end])[0] != zlib.crc32(content[at + 4 : end - 4]):
            raise PictureError(f"the PNG file is damaged: the checksum of its {name.decode('ascii', 'backslashreplace')} is wrong")
        if name == b"IEND":
            return width, height, True
        at = end
    return width, height, False


def webp(content: bytes) -> tuple[int, int, bool]:
    """Width, height, and whether the end is there, from the first of its three kinds of chunks."""
    if len(content) < 30:
        return 0, 0, False
    chunk, whole = content[12:16], len(content) >= 8 + struct.unpack("<I", content[4:8])[0]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little"), whole
    if chunk == b"VP8L":
        sides = int.from_bytes(content[21:25], "little")
        return 1 + (sides & 0x3FFF), 1 + (sides >> 14 & 0x3FFF), whole
    width, height = struct.unpack("<HH", content[26:30])
    return width & 0x3FFF, height & 0x3FFF, whole
