"""Every kind of trouble a file can hold: an image, or a reason in one line."""

import contextlib
import io
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import COLORS, chunk, png, saved
from PIL import Image

from headclust.errors import DataError
from headclust.images.image_file import MAX_BYTES, MAX_PIXELS, decode, pixel_limit


def reason(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        decode(str(path))
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) not in text
    return text


def test_missing_file(tmp_path):
    assert reason(tmp_path / "a.jpg") == "no such file"


def test_a_folder_in_place_of_a_file(tmp_path):
    assert reason(tmp_path) == "not a regular file"


def test_a_pipe_called_like_an_image_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    assert reason(tmp_path / "a.jpg") == "not a regular file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = Path(saved(tmp_path / "a.png", Image.fromarray(COLORS)))
    path.chmod(0)
    assert reason(path) == "cannot be opened: PermissionError: Permission denied"


def test_a_cut_tiff_is_not_described_by_pixels_that_it_does_not_record(tmp_path):
    # It was "pixels of 1 bits with photometric interpretation None": the directory is at the end, and gone.
    Image.fromarray(COLORS).resize((64, 64)).save(tmp_path / "a.tif", compression="tiff_lzw")
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:500])
    assert reason(tmp_path / "a.tif").endswith("or a damaged one")


def test_a_path_that_cannot_be():
    with pytest.raises(DataError, match="cannot be opened: ValueError: embedded null byte"):
        decode("a\0.jpg")


def test_a_file_larger_than_any_image(tmp_path):
    # Some decoders would read all of it first.
    with (tmp_path / "a.avif").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert reason(tmp_path / "a.avif") == f"a file of {MAX_BYTES + 1} bytes: more than the {MAX_BYTES} allowed"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux")
def test_refusals_leave_no_file_open(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("<html>")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("empty.jpg", "text.jpg", "."):
        reason(tmp_path / name)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("data", [b"", b"<html>"])
def test_bytes_fail_as_files_do(tmp_path, data):
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(DataError) as caught:
        decode(data)
    assert str(caught.value) == reason(tmp_path / "a.jpg")


def test_empty_file(tmp_path):
    (tmp_path / "a.jpg").touch()
    assert reason(tmp_path / "a.jpg") == "empty file (0 bytes)"


def test_not_an_image(tmp_path):
    (tmp_path / "a.jpg").write_text("<html>")
    assert "not an image in a supported format (JPEG, PNG," in reason(tmp_path / "a.jpg")


@pytest.mark.parametrize("form", ["ICO", "PCX", "TGA", "EPS", "PDF", "JPEG2000"])
def test_formats_off_the_list_are_refused_whatever_their_name(tmp_path, form):
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "a.png", format=form)
    assert "not an image" in reason(tmp_path / "a.png")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF"])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_truncated_at_any_length(tmp_path, form):
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (24, 24, 3), dtype=np.uint8))
    data = io.BytesIO()
    noise.save(data, format=form)
    whole = data.getvalue()
    for length in np.linspace(1, len(whole) * 0.9, 25).astype(int):
        (tmp_path / "a").write_bytes(whole[:length])
        reason(tmp_path / "a")


@given(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF"]), st.data())
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_bytes_give_an_image_or_a_reason(tmp_path_factory, form, data):
    noise = Image.fromarray(np.random.default_rng(2).integers(0, 255, (9, 7, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    noise.save(buffer, format=form)
    damaged = bytearray(buffer.getvalue())
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=8)):
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "a"
    path.write_bytes(damaged)
    with contextlib.suppress(DataError):
        assert decode(str(path)).mode == "RGB"


def png_of_size(width: int, height: int) -> bytes:
    return png(8, 0, b"", size=(width, height))


@pytest.mark.parametrize("side", [100_000, 12_000])
def test_decompression_bombs(tmp_path, side):
    (tmp_path / "a.png").write_bytes(png_of_size(side, side))
    assert "pixels" in reason(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_where_warnings_are_only_shown(tmp_path):
    (tmp_path / "a.png").write_bytes(png_of_size(12_000, 12_000))
    assert reason(tmp_path / "a.png") == (
        f"12000 x 12000 pixels: more than the {MAX_PIXELS} allowed; make it smaller, or raise --max-pixels"
    )


def test_a_color_profile_that_inflates_without_end(tmp_path):
    profile = chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x" * 80_000_000))
    (tmp_path / "a.png").write_bytes(png(8, 2, b"\0\1\2\3", profile))
    assert "too large" in reason(tmp_path / "a.png")


def test_a_text_chunk_that_inflates_without_end(tmp_path):
    body = b"a\0\0" + zlib.compress(b"x" * 80_000_000)
    (tmp_path / "a.png").write_bytes(png(8, 0, b"\0\0", chunk(b"zTXt", body)))
    reason(tmp_path / "a.png")


def test_avif_says_its_size_before_it_is_decoded(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.avif", Image.new("RGB", (64, 64)))
    monkeypatch.setattr("PIL.AvifImagePlugin.AvifImageFile.load", lambda image: pytest.fail("decoded"))
    with pixel_limit(64 * 64 - 1):
        assert reason(Path(path)).startswith("64 x 64 pixels: more than the 4095 allowed")


@pytest.mark.parametrize(
    "options", [{"format": "PNG"}, {"format": "TIFF", "compression": "tiff_adobe_deflate"}], ids=str
)
def test_a_block_of_zeros_in_the_middle(options):
    # Formats with a checksum of their pixels; Pillow decodes a PNG as soon as its EXIF is asked for.
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)).save(data, **options)
    damaged = bytearray(data.getvalue())
    middle = len(damaged) // 2
    damaged[middle : middle + 512] = bytes(512)
    with pytest.raises(DataError, match="cannot be decoded"):
        decode(bytes(damaged))
