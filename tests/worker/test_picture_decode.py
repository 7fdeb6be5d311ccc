"""Files that are no pictures, or damaged ones: an error that says so, and never a crash, a leak, or a long time."""

import base64
import random
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from peak_memory import peak_memory

from yolo_operator.picture_model.decode import Limits, PictureError, decode

LIMITS = Limits(1 << 20, 1_000_000)
SLOWEST = 2.0
"""Seconds for one file of a million pixels at most."""
GROWTH = 96 << 20
"""Bytes that a process may have taken more in the end, whatever it was sent."""


def files() -> dict[str, bytes]:
    """One of each format and kind."""
    pixels = np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8)
    pixels = cv2.GaussianBlur(pixels, (9, 9), 0)
    made = {
        "jpg": cv2.imencode(".jpg", pixels),
        "progressive": cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        "restarts": cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]),
        "grey": cv2.imencode(".jpg", pixels[..., 0]),
        "png": cv2.imencode(".png", pixels),
        "alpha": cv2.imencode(".png", np.dstack((pixels, pixels[..., 0]))),
        "sixteen": cv2.imencode(".png", pixels.astype(np.uint16) * 257),
        "bits": cv2.imencode(".png", (pixels[..., 0] > 128).astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1]),
        "webp": cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, 80]),
        "lossless": cv2.imencode(".webp", np.dstack((pixels, pixels[..., 0])), [cv2.IMWRITE_WEBP_QUALITY, 101]),
    }
    return {name: encoded.tobytes() for name, (_, encoded) in made.items()}


@pytest.mark.parametrize("name", sorted(files()))
def test_each_kind_is_read_with_three_channels_of_eight_bits(name):
    picture = decode(files()[name], LIMITS)
    assert (picture.shape, picture.dtype) == ((60, 80, 3), np.uint8)
    assert (decode(base64.b64encode(files()[name]), LIMITS) == picture).all()
    assert (decode(b"data:image/jpeg;base64," + base64.b64encode(files()[name]), LIMITS) == picture).all()


@pytest.mark.parametrize("name", sorted(files()))
def test_half_of_a_file_is_cut_off(name):
    with pytest.raises(PictureError, match="cut off"):
        decode(files()[name][: len(files()[name]) // 2], LIMITS)


@pytest.mark.parametrize("name", sorted(files()))
def test_what_a_file_says_of_its_size_is_believed_before_it_is_decoded(name):
    with pytest.raises(PictureError, match=r"80 x 60 pixels, spec\.pictures\.maxPixels allows 4799"):
        decode(files()[name], Limits(1 << 20, 4799))
    with pytest.raises(PictureError, match=r"spec\.pictures\.maxBytes allows 100"):
        decode(files()[name], Limits(100, 1_000_000))


def test_what_begins_as_base64_and_is_none_is_told():
    with pytest.raises(PictureError, match="begins as Base64 and is none"):
        decode(b"/9j/4", LIMITS)


def mutated(files: dict[str, bytes], chance: random.Random) -> bytes:
    """Some bytes changed, taken out, doubled, cut off, or taken from another file."""
    content = bytearray(chance.choice(sorted(files.values())))
    for _ in range(chance.choice((1, 1, 2, 5, 30))):
        at, length = chance.randrange(len(content)), chance.randrange(1, 40)
        match chance.randrange(6):
            case 0:
                content[at] = chance.randrange(256)
            case 1:
                content[at : at + length] = chance.randbytes(length)
            case 2:
                del content[at : at + length]
            case 3:
                content[at:at] = content[at : at + length]
            case 4:
                content[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\xff\xd9\xff\xd8"))
            case _:
                other = chance.choice(sorted(files.values()))
                content[at : at + length] = other[at : at + length]
        if not content:
            return b""
    return bytes(content)


def try_all(count: int, seed: int) -> None:
    """Run in a process of its own, which a decoder may crash."""
    chance, good = random.Random(seed), files()
    for each in [*good.values()] * 20:
        decode(each, LIMITS)
    before, read, slowest = peak_memory() << 10, 0, 0.0
    for at in range(count):
        given = mutated(good, chance)
        began = time.perf_counter()
        try:
            picture = decode(given, LIMITS)
        except PictureError:
            picture = None
        if picture is not None:
            read += 1
            assert picture.size <= 3 * LIMITS.max_pixels, f"file {at} of seed {seed}: {picture.shape}"
        slowest = max(slowest, time.perf_counter() - began)
    grown = (peak_memory() << 10) - before
    assert slowest < SLOWEST, f"{slowest:.1f} s for one file"
    assert grown < GROWTH, f"{grown >> 20} MiB more"
    sys.stdout.write(f"{count} files: {read} read, {count - read} refused; slowest {slowest * 1000:.0f} ms, {grown >> 20} MiB more\n")


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.matrix)])
def test_mutated_files_end_in_a_picture_or_an_error(count):
    code = f"import sys; sys.path[:0] = {sys.path!r}; import test_picture_decode; test_picture_decode.try_all({count}, 7)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stderr[-2000:]
