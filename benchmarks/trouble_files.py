"""A folder with every known kind of trouble in image folders, and the expected result for each entry."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin
from sklearn.datasets import load_sample_images

ROW, TWIN, IGNORED = "a row", "the plain PNG's row", "not listed"
SIDE = 96
_ORIENTATION = 0x0112


class Kind(NamedTuple):
    """A kind of trouble.

    Attributes:
        name: Path of the entry, with `{}` for a number.
        make: Writes the entry, from a photo.
        expected: ROW; TWIN, the same row as a plain PNG of the photo, as only the storage format differs; IGNORED; or a
            part of the reason why it is skipped.
    """

    name: str
    make: Callable[[Path, Image.Image], Any]
    expected: str


class Entry(NamedTuple):
    """Kind and expected result of an entry, and the plain PNG whose row it should have."""

    kind: str
    expected: str
    twin: str = ""


def fill(folder: Path, n_entries: int, each: int) -> dict[str, Entry]:
    """Write `each` entries of each kind, their plain PNGs, and plain JPEGs up to `n_entries`; always the same files.

    Returns:
        Entries by their path below the folder, as `os.fsdecode` returns it.
    """
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    entries: dict[str, Entry] = {}
    for number, (title, kind) in enumerate(KINDS.items()):
        for i in range(each):
            photo, name, twin = crop(photos, len(entries)), kind.name.format(f"{number:02d}{i}"), ""
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            kind.make(path, photo)
            if kind.expected == TWIN:
                twin = plain(folder, f"plain/{len(entries):04d}.png", photo, entries)
            entries[name] = Entry(title, kind.expected, twin)
    while len(entries) < n_entries:
        plain(folder, f"plain/{len(entries):04d}.jpg", crop(photos, len(entries)), entries)
    return entries


def plain(folder: Path, name: str, photo: Image.Image, entries: dict[str, Entry]) -> str:
    """Save a photo without any trouble; return its name."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    photo.save(folder / name)
    entries[name] = Entry("a plain image", ROW)
    return name


def crop(photos: list[Image.Image], seed: int) -> Image.Image:
    """A square crop of one of scikit-learn's two photos."""
    photo = photos[seed % 2]
    rng = np.random.default_rng(seed)
    left, top = (int(rng.integers(0, whole - SIDE)) for whole in photo.size)
    return photo.crop((left, top, left + SIDE, top + SIDE))


def encoded(photo: Image.Image, kind: str, **options: Any) -> bytes:
    """A photo as the bytes of a file."""
    buffer = io.BytesIO()
    photo.save(buffer, kind, **options)
    return buffer.getvalue()


def saved(kind: str, mode: str = "RGB", **options: Any) -> Callable[[Path, Image.Image], None]:
    """A function that writes a photo in a color mode and a format, which need not be that of the file name."""
    return lambda path, photo: path.write_bytes(encoded(photo.convert(mode), kind, **options)) and None


def content(data: bytes) -> Callable[[Path, Image.Image], None]:
    """A function that writes a file of these bytes."""
    return lambda path, _: path.write_bytes(data) and None


def part(kind: str, share: float) -> Callable[[Path, Image.Image], None]:
    """A function that writes the first part of a file."""

    def make(path: Path, photo: Image.Image) -> None:
        data = encoded(photo, kind)
        path.write_bytes(data[: int(len(data) * share)])

    return make


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header gives this size, with hardly any pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 100)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def rgb48(path: Path, photo: Image.Image) -> None:
    """Write a PNG with 16 bits per channel, which Pillow reads but does not write."""
    pixels = np.asarray(photo).astype(">u2") * 257
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", *photo.size, 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def turned(path: Path, photo: Image.Image) -> None:
    """Write a photo that is rotated by 90 degrees, with the EXIF orientation that undoes it."""
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    photo.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


def flipped_bit(path: Path, photo: Image.Image) -> None:
    """Write a PNG whose pixels do not match their checksum."""
    data = bytearray(encoded(photo, "PNG"))
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


def frames(kind: str, **options: Any) -> Callable[[Path, Image.Image], None]:
    """A function that writes an animation or several pages, with the photo first."""

    def make(path: Path, photo: Image.Image) -> None:
        others = [Image.new("RGB", photo.size, color) for color in ("red", "blue")]
        path.write_bytes(encoded(photo, kind, save_all=True, append_images=others, **options))

    return make


def text_bomb(path: Path, photo: Image.Image) -> None:
    """Write a PNG with a comment that is a thousand times larger when unpacked."""
    note = PngImagePlugin.PngInfo()
    note.add_text("comment", "x" * 80_000_000, zip=True)
    photo.save(path, pnginfo=note)


def palette_with_hole(path: Path, photo: Image.Image) -> None:
    """Write a palette image with a transparent color."""
    photo.quantize(64).save(path, transparency=3)


def gray16(path: Path, photo: Image.Image) -> None:
    """Write a 16-bit gray PNG."""
    Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257).save(path)


def numbers(dtype: type[np.generic], low: float, high: float) -> Callable[[Path, Image.Image], None]:
    """A function that writes a TIFF of numbers that are not colors."""
    return lambda path, _: Image.fromarray(np.linspace(low, high, SIDE * SIDE).reshape(SIDE, SIDE).astype(dtype)).save(
        path
    )


def sized(width: int, height: int) -> Callable[[Path, Image.Image], None]:
    """A function that writes an image of this size."""
    return lambda path, photo: photo.resize((width, height)).save(path)


def link(target: str, *, folder: bool = False) -> Callable[[Path, Image.Image], None]:
    """A function that makes a link to `target`, or, if that is empty, to a copy of the photo with a hidden name."""

    def make(path: Path, photo: Image.Image) -> None:
        if not target:
            photo.save(path.parent / f".{path.name}")
        path.symlink_to(target or f".{path.name}", target_is_directory=folder)

    return make


def sparse(path: Path, _: Image.Image) -> None:
    """Write a file of 10 GB that takes no space on disk."""
    with path.open("wb") as file:
        file.truncate(10_000_000_000)


KINDS = {
    "empty": Kind("bad/empty{}.jpg", content(b""), "empty file (0 bytes)"),
    "one byte": Kind("bad/byte{}.png", content(b"\x89"), "not an image"),
    "JPEG cut short": Kind("bad/short{}.jpg", part("JPEG", 0.9), "damaged: premature end"),
    "JPEG cut in its header": Kind("bad/head{}.jpg", content(b"\xff\xd8\xff\xe0\0\x10JFIF"), "truncated"),
    "PNG cut in half": Kind("bad/half{}.png", part("PNG", 0.5), "truncated"),
    "WEBP cut in half": Kind("bad/half{}.webp", part("WEBP", 0.5), "cannot be decoded"),
    "TIFF cut in half": Kind("bad/half{}.tif", part("TIFF", 0.5), "cannot be decoded"),
    "GIF cut in half": Kind("bad/half{}.gif", part("GIF", 0.5), "truncated"),
    "text": Kind("bad/text{}.jpg", content(b"This is not a photo.\n"), "not an image"),
    "a web page": Kind("bad/page{}.jpg", content(b"<!DOCTYPE html><title>404</title>"), "not an image"),
    "random bytes": Kind("bad/random{}.jpg", content(np.random.default_rng(0).bytes(5000)), "not an image"),
    "zeros, 10 GB of them": Kind("bad/zeros{}.png", sparse, "bytes: more than"),
    "a pickle": Kind("bad/pickle{}.png", content(pickle.dumps([1])), "not an image"),
    "SVG named PNG": Kind("bad/svg{}.png", content(b'<svg xmlns="http://www.w3.org/2000/svg"/>'), "not an image"),
    "PostScript named JPEG": Kind("bad/eps{}.jpg", saved("EPS"), "not an image"),
    "JPEG 2000 named JPEG": Kind("bad/jp2{}.jpg", saved("JPEG2000"), "not an image"),
    "PNG with a flipped bit": Kind("bad/bit{}.png", flipped_bit, "cannot be decoded"),
    "PNG of 50,000 x 50,000 px": Kind(
        "bad/bomb{}.png", content(png_of_size(50_000, 50_000)), "50000 x 50000 pixels: more than"
    ),
    "PNG of 12,000 x 10,000 px": Kind("bad/large{}.png", content(png_of_size(12_000, 10_000)), "pixels: more than"),
    "PNG of no pixels": Kind("bad/none{}.png", content(png_of_size(0, 0)), "not an image"),
    "PNG with a comment of 80 MB": Kind("bad/comment{}.png", text_bomb, "cannot be decoded"),
    "4,000 x 2 px": Kind("bad/thin{}.png", sized(4000, 2), "over 200 times the other"),
    "floating-point TIFF": Kind("bad/float{}.tif", numbers(np.float32, 0, 1), "floating-point"),
    "32-bit TIFF": Kind("bad/int{}.tif", numbers(np.int32, -5, 10**6), "integer pixels"),
    "dead link": Kind("bad/dead{}.jpg", link("nowhere.jpg"), "no such file"),
    "link to itself": Kind("bad/self{}.jpg", lambda path, _: path.symlink_to(path.name), "too many levels"),
    "PNG named JPEG": Kind("stored/png{}.jpg", saved("PNG"), TWIN),
    "upper-case extension": Kind("stored/UPPER{}.PNG", saved("PNG"), TWIN),
    "lying on its side, by EXIF": Kind("stored/side{}.png", turned, TWIN),
    "damaged EXIF": Kind("stored/exif{}.png", saved("PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), TWIN),
    "opaque RGBA": Kind("stored/rgba{}.png", saved("PNG", "RGBA"), TWIN),
    "16 bits per channel": Kind("stored/rgb48{}.png", rgb48, TWIN),
    "BMP": Kind("stored/bmp{}.bmp", saved("BMP"), TWIN),
    "lossless WEBP": Kind("stored/webp{}.webp", saved("WEBP", lossless=True), TWIN),
    "LZW TIFF": Kind("stored/lzw{}.tiff", saved("TIFF", compression="tiff_lzw"), TWIN),
    "TIFF of several pages": Kind("stored/pages{}.tif", frames("TIFF"), TWIN),
    "animated PNG": Kind("stored/animated{}.png", frames("PNG"), TWIN),
    "animated lossless WEBP": Kind("stored/animated{}.webp", frames("WEBP", lossless=True), TWIN),
    "PPM": Kind("stored/ppm{}.ppm", saved("PPM"), TWIN),
    "link to an image": Kind("stored/link{}.png", link(""), TWIN),
    "animated GIF": Kind("stored/animated{}.gif", frames("GIF"), ROW),
    "gray": Kind("stored/gray{}.jpg", saved("JPEG", "L"), ROW),
    "gray with alpha": Kind("stored/la{}.png", saved("PNG", "LA"), ROW),
    "16-bit gray": Kind("stored/gray16{}.png", gray16, ROW),
    "one bit": Kind("stored/bit{}.png", saved("PNG", "1"), ROW),
    "palette": Kind("stored/palette{}.png", saved("PNG", "P"), ROW),
    "palette with a transparent color": Kind("stored/hole{}.png", palette_with_hole, ROW),
    "CMYK JPEG": Kind("stored/cmyk{}.jpg", saved("JPEG", "CMYK"), ROW),
    "CMYK TIFF": Kind("stored/cmyk{}.tif", saved("TIFF", "CMYK"), ROW),
    "LAB TIFF": Kind("stored/lab{}.tif", lambda path, photo: lab(photo).save(path), ROW),
    "progressive JPEG": Kind("stored/progressive{}.jpg", saved("JPEG", progressive=True), ROW),
    "JPEG with bytes after its end": Kind(
        "stored/after{}.jpg", lambda path, photo: path.write_bytes(encoded(photo, "JPEG") + b"\0" * 5000), ROW
    ),
    "MPO, as phones make it": Kind("stored/mpo{}.jpg", frames("MPO"), ROW),
    "1 x 1 px": Kind("stored/one{}.png", sized(1, 1), ROW),
    "name that is not UTF-8": Kind(os.fsdecode(b"names/caf\xe9{}.png"), saved("PNG"), TWIN),
    "name with a line feed and an escape": Kind("names/a\nb\x1b[2J{}.png", saved("PNG"), TWIN),
    "name that is a formula": Kind("names/=cmd{}|'x'!A1.png", saved("PNG"), TWIN),
    "name that is a script": Kind("names/<script>alert({})<\\script>.png", saved("PNG"), TWIN),
    "name in other scripts": Kind("names/\u05d0\u202e\U0001f408 \u732b{}.png", saved("PNG"), TWIN),
    "name of 255 bytes": Kind(f"names/{'n' * 248}{{}}.png", saved("PNG"), TWIN),
    "same name in another folder": Kind("names/again{}/same.png", saved("PNG"), TWIN),
    "folder named like an image": Kind("folders/folder{}.jpg/inside.png", saved("PNG"), TWIN),
    "link in a circle": Kind("folders/circle{}", link(".", folder=True), IGNORED),
    "FIFO": Kind("folders/fifo{}.jpg", lambda path, _: os.mkfifo(path), IGNORED),
    "hidden": Kind("folders/.hidden{}.jpg", saved("JPEG"), IGNORED),
    "no extension": Kind("folders/photo{}", saved("JPEG"), IGNORED),
    "a video": Kind("folders/video{}.mp4", content(b"\0\0\0\x18ftypmp42"), IGNORED),
}


def lab(photo: Image.Image) -> Image.Image:
    """A photo in the CIELAB color space."""
    from PIL import ImageCms

    profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
    converted = ImageCms.profileToProfile(photo, *profiles, outputMode="LAB")
    assert converted is not None
    return converted
