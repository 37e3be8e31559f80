"""Images, arrays, folders of frames, the list of sharp regions: what is read, in which order, what not."""

import errno
import json
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from common import images
from common.errors import UserError
from common.formats import image_formats
from common.images import (
    pad_to_multiple,
    read_array,
    read_image,
    read_with_changes,
    to_image,
    to_tensor,
    write_array,
    write_image,
)
from common.regions_file import by_frame, read_regions
from common.runtime.distributed import start
from common.runtime.memory import out_of_memory
from common.training.frame_cache import FrameCache
from common.videos import Video, VideoFrames, find_videos, frame_file, sorted_frames


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _refused(call, *arguments) -> str:
    """The message, which has to be one line."""
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


@pytest.fixture
def picture(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A PNG file and its content; red is brightest, so that a change of the channel order shows."""
    image = _noise(40, 56, 3) // np.array([1, 2, 4], np.uint8)
    write_image(tmp_path / "whole.png", image)
    return tmp_path / "whole.png", image


def test_png_is_lossless_and_rgb(picture):
    path, image = picture
    assert np.array_equal(read_image(path), image)
    # As another program sees it.
    assert np.array_equal(cv2.imread(str(path)), image[..., ::-1])


def test_grey_and_transparent_images(tmp_path):
    grey, four = _noise(9, 7), _noise(9, 7, 4)
    write_image(tmp_path / "grey.png", grey)
    cv2.imwrite(str(tmp_path / "four.png"), four)
    assert cv2.imread(str(tmp_path / "grey.png"), cv2.IMREAD_UNCHANGED).ndim == 2
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, axis=2))
    assert np.array_equal(read_image(tmp_path / "four.png"), four[..., 2::-1])


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999], ids=["header", "half", "end"])
def test_truncated_png(picture, share):
    path, data = picture[0], picture[0].read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    message = _refused(read_image, path)
    assert message.startswith(f"{path}: ") and "truncated" in message and "copy" in message


def _huge(data: bytes) -> bytes:
    """The same file with a header that claims 100000 x 100000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100000, 100000, 8, 2, 0, 0, 0)
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda data: data[: len(data) // 2] + data[-12:], "truncated PNG image; copy or export"),
        (
            lambda data: data[:500] + bytes([data[500] ^ 255]) + data[501:],
            "damaged PNG image (the checksum of its part 'IDAT'",
        ),
        (lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:], "damaged PNG image"),
        (lambda data: b"<html>IEND", "not a readable image (none of PNG, JPEG, TIFF, WebP and BMP"),
        (_huge, "claims 100000 x 100000 pixels, more than 134217728 are not read"),
    ],
    ids=["hole", "flipped", "one bit", "html", "huge"],
)
def test_damaged_png(picture, damage, words):
    path = picture[0]
    path.write_bytes(damage(path.read_bytes()))
    assert words in _refused(read_image, path)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.999])
def test_truncated_jpeg(tmp_path, share):
    cv2.imwrite(str(tmp_path / "a.jpg"), _noise(40, 50))
    data = (tmp_path / "a.jpg").read_bytes()
    assert read_image(tmp_path / "a.jpg").shape == (40, 50, 3)
    # Behind the end anything may stand, as behind a picture that holds a short video.
    (tmp_path / "a.jpg").write_bytes(data + bytes(5000))
    assert read_image(tmp_path / "a.jpg").shape == (40, 50, 3)
    (tmp_path / "a.jpg").write_bytes(data[: int(len(data) * share)])
    assert "truncated or damaged JPEG image" in _refused(read_image, tmp_path / "a.jpg")


def test_huge_jpeg_is_refused_by_its_header(tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), _noise(40, 50))
    data = (tmp_path / "a.jpg").read_bytes()
    at = data.index(b"\xff\xc0") + 5
    (tmp_path / "a.jpg").write_bytes(data[:at] + struct.pack(">HH", 60000, 60000) + data[at + 4 :])
    assert "claims 60000 x 60000 pixels" in _refused(read_image, tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["zero.png", "zero.jpg"])
def test_empty_file(tmp_path, name):
    (tmp_path / name).touch()
    assert _refused(read_image, tmp_path / name).startswith(f"{tmp_path / name}: ")


def test_not_an_image(tmp_path):
    (tmp_path / "notes.jpg").write_text("notes")
    assert "not a readable image" in _refused(read_image, tmp_path / "notes.jpg")
    assert _refused(read_image, tmp_path / "none.png") == (
        f"{tmp_path / 'none.png'}: image cannot be read (No such file or directory)"
    )
    assert "image cannot be read" in _refused(read_image, tmp_path)


def test_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(ValueError, match="expected uint8, received float32"):
        write_image(tmp_path / "a.png", np.zeros((4, 4, 3), np.float32))
    with pytest.raises((ValueError, cv2.error)):
        write_image(tmp_path / "a.png", np.zeros((4, 4, 2), np.uint8))
    with pytest.raises(ValueError):
        write_array(tmp_path / "a.npy", np.array([object()]))
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_is_never_ended_leaves_nothing(tmp_path):
    """As when a signal raises before the end of its block is seen to."""
    code = (
        "import os, sys; from common.runtime import files; writer = files.atomic_write(sys.argv[1]); "
        "open(writer.__enter__(), 'w').close(); assert os.listdir(sys.argv[2]); "
        "os.kept = [writer]; os.kept.append(os.kept)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.json", tmp_path], check=True, cwd=tiny.ROOT)
    assert list(tmp_path.iterdir()) == []


def test_tensor_layout_and_scale():
    image = _noise(2, 5, 6, 3)
    tensor = to_tensor(image)
    assert tensor.shape == (2, 3, 5, 6) and tensor.dtype == torch.float32
    assert tensor[1, 2, 3, 4] == np.float32(image[1, 3, 4, 2]) / np.float32(255)
    assert np.array_equal(to_image(tensor), image)


def test_rounding_to_bytes():
    """Half up at 8 bits, clamped: 1.5 / 255 becomes 2, not the even neighbour of 2.5 or the value cut off."""
    steps = torch.tensor([-1.0, 0.0, 0.49, 0.51, 1.49, 1.5, 2.5, 254.49, 254.51, 255.0, 300.0])
    image = to_image((steps / 255).reshape(1, 1, -1).expand(3, 1, -1))
    assert image[0, :, 0].tolist() == [0, 0, 0, 1, 1, 2, 3, 254, 255, 255, 255]
    assert image.dtype == np.uint8 and image.shape == (1, 11, 3)
    every = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    assert np.array_equal(to_image(to_tensor(every)), every)


@pytest.mark.parametrize(
    "size, multiple, minimum, padded",
    [
        ((8, 16), 8, 0, (8, 16)),
        ((9, 15), 8, 0, (16, 16)),
        ((1, 7), 4, 0, (4, 8)),
        ((5, 30), 1, 0, (5, 30)),
        ((8, 40), 8, 24, (24, 40)),
        ((8, 8), 8, 20, (24, 24)),
        ((30, 24), 8, 24, (32, 24)),
    ],
)
def test_pad_to_multiple(size, multiple, minimum, padded):
    for lead in ((), (3,), (2, 3), (2, 5, 3)):
        tensor = torch.arange(float(np.prod((*lead, *size)))).reshape(*lead, *size)
        result = pad_to_multiple(tensor, multiple, minimum)
        assert result.shape == (*lead, *padded)
        height, width = size
        assert torch.equal(result[..., :height, :width], tensor)
        below, beside = result[..., height:, :width], result[..., width:]
        assert torch.equal(below, tensor[..., -1:, :].expand_as(below))
        assert torch.equal(beside, result[..., width - 1 : width].expand_as(beside))


def test_arrays(tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    write_array(tmp_path / "a.npy", array)
    assert np.array_equal(read_array(tmp_path / "a.npy", 3, "hint"), array)
    assert _refused(read_array, tmp_path / "a.npy", 2, "run x first") == (
        f"{tmp_path / 'a.npy'}: expected a float32 array with 2 dimensions; run x first"
    )


def _npz(path: Path) -> None:
    np.savez(path.with_suffix(".npz"), a=np.zeros(3))
    path.with_suffix(".npz").rename(path)


def _cut_short(path: Path) -> None:
    write_array(path, np.zeros((2, 2), np.float32))
    path.write_bytes(path.read_bytes()[:-4])


UNREADABLE, WRONG_KIND = "missing or not a readable .npy array", "expected a float32 array with 2 dimensions"
NOT_FINITE = "contains values that are not finite"
BROKEN_ARRAYS = {
    "missing": (lambda path: None, UNREADABLE),
    "empty": (lambda path: path.touch(), UNREADABLE),
    "text": (lambda path: path.write_text("hello world"), UNREADABLE),
    "cut": (_cut_short, UNREADABLE),
    "header": (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\x10\x00garbage{}{}{}{}{"), UNREADABLE),
    "zip": (lambda path: path.write_bytes(b"PK\x03\x04damaged"), UNREADABLE),
    "pickle": (lambda path: np.save(path, np.array([{}]), allow_pickle=True), UNREADABLE),
    "archive": (_npz, WRONG_KIND),
    "double": (lambda path: np.save(path, np.zeros((2, 2))), WRONG_KIND),
    "nan": (lambda path: np.save(path, np.full((2, 2), np.nan, np.float32)), NOT_FINITE),
    "inf": (lambda path: np.save(path, np.full((2, 2), np.inf, np.float32)), NOT_FINITE),
}


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory")])
def test_an_array_for_which_there_is_no_memory_is_not_called_damaged(tmp_path, monkeypatch, error):
    def load(*_, **__):
        raise error

    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.float32))
    monkeypatch.setattr(np, "load", load)
    with pytest.raises(type(error)):
        read_array(tmp_path / "a.npy", 2, "run x first")


@pytest.mark.parametrize("make, message", BROKEN_ARRAYS.values(), ids=BROKEN_ARRAYS)
def test_broken_array(tmp_path, make, message):
    path = tmp_path / "a.npy"
    make(path)
    text = _refused(read_array, path, 2, "run x first")
    assert text.startswith(f"{path}: {message}") and text.endswith("; run x first")


def test_frame_cache_keeps_up_to_its_limit(tmp_path):
    images = {name: _noise(10 * size, 10, 3) for size, name in enumerate("abc", start=1)}
    for name, image in images.items():
        write_image(tmp_path / f"{name}.png", image)
    cache = FrameCache(900 / 2**30)
    for name in "cab":
        assert np.array_equal(cache(tmp_path / f"{name}.png"), images[name])
    shutil.rmtree(tmp_path)
    # 900 bytes hold c (900) and nothing more.
    assert np.array_equal(cache(tmp_path / "c.png"), images["c"])
    assert "cannot be read" in _refused(cache, tmp_path / "a.png")


@pytest.mark.parametrize("processes, kept", [(1, "ab"), (2, "a")])
def test_the_processes_of_a_machine_share_one_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int, kept: str
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    for name, value in {
        "RANK": 0,
        "LOCAL_RANK": 0,
        "WORLD_SIZE": 1,
        "MASTER_ADDR": "x",
        "MASTER_PORT": 1,
    }.items():
        monkeypatch.setenv(name, str(value))
    cache = FrameCache(start("cpu").memory_share(600 / 2**30))
    for name in "ab":
        write_image(tmp_path / f"{name}.png", _noise(10, 10, 3))
        cache(tmp_path / f"{name}.png")
    shutil.rmtree(tmp_path)
    for name in kept:
        cache(tmp_path / f"{name}.png")
    for name in set("ab") - set(kept):
        assert "cannot be read" in _refused(cache, tmp_path / f"{name}.png")


def test_threads_that_read_one_image_count_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together, image = threading.Barrier(8), _noise(10, 10, 3)

    def slow(path: Path) -> np.ndarray:
        together.wait(10)
        return image

    monkeypatch.setattr("common.training.frame_cache.read_image", slow)
    cache = FrameCache(600 / 2**30)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(cache, [tmp_path / "a.png"] * 8))
    # There is room for one more.
    monkeypatch.setattr("common.training.frame_cache.read_image", lambda path: image)
    cache(tmp_path / "b.png")
    monkeypatch.setattr("common.training.frame_cache.read_image", lambda path: pytest.fail("decoded again"))
    assert cache(tmp_path / "b.png") is image


def test_frames_are_in_numeric_order(tmp_path):
    names = ["0.png", "2.png", "007.png", "12.png", "00000100.png"]
    _touch(tmp_path, *reversed(names), "3.txt", ".5.png", ".tmp-1-ab.png")
    assert [path.name for path in sorted_frames(tmp_path)] == names


@pytest.mark.parametrize(
    "names",
    [
        ["blur_2.png", "blur_10.png"],
        ["f9.png", "f10.png", "f²11.png"],
        ["cover.png", "1.png"],
        ["a.png", "b.png"],
    ],
)
def test_frames_with_words_in_their_names(tmp_path, names):
    _touch(tmp_path, *reversed(names))
    assert [path.name for path in sorted_frames(tmp_path)] == names


@pytest.mark.parametrize(
    "names",
    [
        ["seq1_8", "seq1_9", "seq1_10", "seq1_11", "seq2_1", "seq2_4"],
        ["t0.5", "t1", "t1.5", "t10"],
        ["t0.05", "t0.1", "t0.25", "t0.5", "t1.0"],
        ["shot1.0", "shot1.1", "shot1.2", "shot1.9", "shot1.10", "shot2.1"],
        ["shot.0009", "shot.0010", "shot.1001"],
        ["1305031102.175304", "1305031102.211214", "1305031103.000001"],
        ["IMG_9", "img_10", "IMG_11"],
        ["cam0_2_7", "cam0_2_12", "cam0_10_1", "cam1_1_1"],
    ],
)
def test_frames_are_in_natural_order(tmp_path, names):
    _touch(tmp_path, *(f"{name}.png" for name in sorted(names, reverse=True)))
    assert [path.stem for path in sorted_frames(tmp_path)] == names


def test_frames_of_every_kind_are_found(tmp_path):
    names = ["1.png", "2.PNG", "3.jpg", "4.JPEG", "5.tif", "6.TIFF", "7.webp", "8.bmp"]
    _touch(tmp_path, *names, "9.txt", "10.heic", ".11.png")
    assert [path.name for path in sorted_frames(tmp_path)] == names
    assert frame_file(tmp_path, "4") == tmp_path / "4.JPEG"
    assert frame_file(tmp_path, "9") == tmp_path / "9.png"
    _touch(tmp_path, "3.png")
    assert _refused(sorted_frames, tmp_path) == (
        f"{tmp_path}: 3.jpg and 3.png are two files of one frame; remove one of them"
    )


def test_a_link_without_its_target(tmp_path):
    _touch(tmp_path, "1.png")
    (tmp_path / "2.png").symlink_to("gone.png")
    assert _refused(sorted_frames, tmp_path) == (
        f"{tmp_path / '2.png'}: a link to gone.png, which is missing; copy the file again"
    )


def test_truth_of_another_kind(tmp_path):
    _touch(tmp_path / "a" / "Blur" / "RGB", *(f"{number}.jpg" for number in range(5)))
    _touch(tmp_path / "a" / "Sharp" / "RGB", *(f"{number}.PNG" for number in range(5)))
    (video,) = find_videos(tmp_path)
    assert [path.name for path in video.sharp] == [f"{number}.PNG" for number in range(5)]
    assert video.restored(tmp_path, 2) == tmp_path / "a" / "2.png"


class TestKindsOfImages:
    def saved(self, path: Path, image: np.ndarray, **options) -> Path:
        Image.fromarray(image).save(path, **options)
        return path

    @pytest.mark.parametrize(
        "ending, options", [("tif", {}), ("webp", {"lossless": True}), ("bmp", {}), ("png", {})]
    )
    def test_lossless_kinds_under_any_ending(self, tmp_path, ending, options):
        image = _noise(13, 17, 3)
        path = self.saved(tmp_path / f"a.{ending}", image, **options)
        for name in ("b.png", "b.jpg", "b.tif"):
            shutil.copy(path, tmp_path / name)
            assert np.array_equal(read_image(tmp_path / name), image)

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("ending", ["tif", "jpg", "webp", "png"])
    def test_orientation(self, tmp_path, orientation, ending):
        upright = np.kron(_noise(3, 5, 3), np.ones((16, 16, 1), np.uint8))
        back = {
            1: lambda image: image,
            2: lambda image: image[:, ::-1],
            3: lambda image: image[::-1, ::-1],
            4: lambda image: image[::-1],
            5: lambda image: np.swapaxes(image, 0, 1),
            6: lambda image: np.rot90(image, 1),
            7: lambda image: np.swapaxes(image, 0, 1)[::-1, ::-1],
            8: lambda image: np.rot90(image, -1),
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"quality": 100, "subsampling": 0} if ending == "jpg" else {}
        options |= {"lossless": True} if ending == "webp" else {}
        path = self.saved(tmp_path / f"a.{ending}", np.ascontiguousarray(back(upright)), exif=exif, **options)
        read = read_image(path)
        assert read.shape == upright.shape and np.abs(read.astype(int) - upright).mean() < 3

    def test_deep_and_grey_tiff(self, tmp_path):
        deep = np.arange(12 * 8, dtype=np.uint16).reshape(12, 8) * 600
        Image.fromarray(deep).save(tmp_path / "a.tif")
        image, changes = read_with_changes(tmp_path / "a.tif")
        assert np.array_equal(image, np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, axis=2))
        assert changes == (image_formats.DEEP, image_formats.GREY)
        cv2.imwrite(str(tmp_path / "b.tif"), np.repeat(deep[..., None], 3, axis=2))
        image, changes = read_with_changes(tmp_path / "b.tif")
        assert np.array_equal(image[..., 0], (deep >> 8).astype(np.uint8)) and changes == (
            image_formats.DEEP,
        )

    @pytest.mark.parametrize("ending", ["png", "webp", "tif", "gif"])
    def test_animations_are_refused(self, tmp_path, ending):
        first, *rest = (Image.fromarray(_noise(8, 8, 3) // factor) for factor in (1, 2, 3))
        first.save(tmp_path / f"a.{ending}", save_all=True, append_images=rest)
        shutil.copy(tmp_path / f"a.{ending}", tmp_path / "b.png")
        words = "a GIF image, which is not read" if ending == "gif" else "holds 3 pictures (an animation or"
        assert words in _refused(read_image, tmp_path / "b.png")

    def test_other_colours_are_refused_by_name(self, tmp_path):
        Image.fromarray(_noise(8, 8, 4), mode="CMYK").save(tmp_path / "a.tif")
        assert "its colours are stored as CMYK; save it as RGB" in _refused(read_image, tmp_path / "a.tif")
        Image.fromarray(_noise(8, 8).astype(np.float32)).save(tmp_path / "b.tif")
        assert "its colours are stored as F; save it as RGB" in _refused(read_image, tmp_path / "b.tif")

    @pytest.mark.parametrize("ending", ["tif", "webp", "bmp"])
    @pytest.mark.parametrize("share", [0.01, 0.5, 0.95])
    def test_cut_off(self, tmp_path, capfd, ending, share):
        path = self.saved(tmp_path / f"a.{ending}", _noise(40, 50, 3))
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        assert "not a readable image" in _refused(read_image, path)
        assert capfd.readouterr() == ("", "")

    def test_huge(self, tmp_path):
        path = self.saved(tmp_path / "a.bmp", _noise(8, 8, 3))
        data = bytearray(path.read_bytes())
        data[18:26] = struct.pack("<ii", 60000, 60000)
        path.write_bytes(data)
        assert "60000 x 60000 pixels" in _refused(read_image, path) or "claims more" in _refused(
            read_image, path
        )


NAMES = [f"{number}.png" for number in (2, 3, 5, 10, 11)]


def test_frames_of_a_video_have_the_size_of_its_first(tmp_path):
    paths = tuple(tmp_path / f"{number}.png" for number in range(4))
    for path, width in zip(paths, (6, 6, 7, 6)):
        write_image(path, np.full((5, width, 3), int(path.stem), np.uint8))
    frames = VideoFrames(Video("v", paths, ()))
    # The first frame counts, whichever was read before.
    with pytest.raises(UserError, match=r"2.png: is 7 x 5 pixels, 0.png is 6 x 5; all frames of a video"):
        frames.read(2)
    assert [int(frames.read(position)[0, 0, 0]) for position in (3, 0, 1)] == [3, 0, 1]


def test_videos(tmp_path):
    _touch(tmp_path / "b" / "Blur" / "RGB", *NAMES)
    _touch(tmp_path / "a" / "Blur" / "RGB", *NAMES, "100.png")
    _touch(tmp_path / "a" / "Sharp" / "RGB", *NAMES, "100.png", "200.png")
    _touch(tmp_path / "no_video")
    _touch(tmp_path, "notes.txt")
    first, second = find_videos(tmp_path)
    assert (first.name, second.name) == ("a", "b")
    assert second.names == ["2", "3", "5", "10", "11"]
    assert second.frames == tuple(tmp_path / "b" / "Blur" / "RGB" / name for name in NAMES)
    assert second.sharp == ()
    assert first.sharp == tuple(tmp_path / "a" / "Sharp" / "RGB" / name for name in (*NAMES, "100.png"))
    assert [video.name for video in find_videos(tmp_path, only=["b"])] == ["b"]
    assert [video.name for video in find_videos(tmp_path, only=[])] == ["a", "b"]


def test_other_inner_folders(tmp_path):
    _touch(tmp_path / "a" / "in", *NAMES)
    _touch(tmp_path / "a" / "gt", *NAMES)
    (video,) = find_videos(tmp_path, blur="in", sharp="gt")
    assert len(video.frames) == len(video.sharp) == 5


def test_refused_data_sets(tmp_path):
    missing = tmp_path / "none"
    assert _refused(find_videos, missing).startswith(f"{missing}: dataset.root does not exist; expected <")
    assert _refused(find_videos, tmp_path).startswith(f"{tmp_path}: no video found; expected <root>/<video>")
    folder = tmp_path / "a" / "Blur" / "RGB"
    _touch(folder)
    assert _refused(find_videos, tmp_path) == (
        f"{folder}: contains no frames (.png, .jpg, .jpeg, .bmp, .tif, .tiff, .webp)"
    )
    _touch(folder, *NAMES[:4])
    assert _refused(find_videos, tmp_path).startswith(f"{folder}: has 4 frames; at least 5 are needed")
    _touch(folder, NAMES[4])
    assert _refused(find_videos, tmp_path, "Blur/RGB", "Sharp/RGB", ["b"]) == (
        f"dataset.videos: b is not among the videos of {tmp_path}: a"
    )
    truth = tmp_path / "a" / "Sharp" / "RGB"
    _touch(truth, *NAMES[1:], "00002.png")
    assert _refused(find_videos, tmp_path) == f"{truth}: ground truth frame 2.png is missing"


VIDEOS = [
    Video("one", tuple(Path(f"/d/one/{name}") for name in NAMES), ()),
    Video("two", tuple(Path(f"/d/two/{name}") for name in NAMES), ()),
]


def _regions_file(folder: Path, content: object) -> Path:
    path = folder / "sharp_regions.json"
    path.write_text(json.dumps(content))
    return path


def _entries(folder: Path, *entries: object) -> Path:
    return _regions_file(folder, {"sharp_regions": list(entries), "videos": {}})


def test_regions_of_our_file(tmp_path):
    path = _entries(
        tmp_path,
        {"path": "x/ori/9.png", "bbox": [0, 1, 2, 3], "video": "two", "frame": "10"},
        {"path": "x", "bbox": [4, 5, 60, 70], "video": "one", "frame": "2"},
        {"path": "x", "bbox": [0, 0, 1, 1], "video": "another", "frame": "2"},
        {"path": "x", "bbox": [7, 7, 8, 8], "video": "two", "frame": "10"},
    )
    regions = read_regions(path, VIDEOS)
    assert [(region.video.name, region.position, region.frame, region.box) for region in regions] == [
        ("two", 3, "10", (0, 1, 2, 3)),
        ("one", 0, "2", (4, 5, 60, 70)),
        ("two", 3, "10", (7, 7, 8, 8)),
    ]
    assert {key: [region.box for region in found] for key, found in by_frame(regions).items()} == {
        ("two", 3): [(0, 1, 2, 3), (7, 7, 8, 8)],
        ("one", 0): [(4, 5, 60, 70)],
    }
    assert list(by_frame(regions)) == [("two", 3), ("one", 0)]


@pytest.mark.parametrize(
    "place", ["/data/BSD/test/one/ori/11.png", "one/ori/11.png", "D:\\BSD\\test\\one\\ori\\11.png"]
)
def test_regions_of_the_authors_file(tmp_path, place):
    """Their file has nothing but path and bbox."""
    path = _regions_file(tmp_path, {"sharp_regions": [{"path": place, "bbox": [10, 20, 300, 400]}]})
    (region,) = read_regions(path, VIDEOS)
    assert (region.video, region.position, region.box) == (VIDEOS[0], 4, (10, 20, 300, 400))


@pytest.mark.parametrize(
    "entry, message",
    [
        (5, "expected path and bbox, found 5"),
        ({"path": "t/one/ori/2.png"}, "bbox has to be four whole numbers [r0, c0, r1, c1], found None"),
        ({"path": "t/one/ori/2.png", "bbox": [0, 0, 5]}, "found [0, 0, 5]"),
        ({"path": "t/one/ori/2.png", "bbox": [0, 0, 5, 5.5]}, "found [0, 0, 5, 5.5]"),
        ({"path": "t/one/ori/2.png", "bbox": [0, 0, True, 5]}, "found [0, 0, True, 5]"),
        ({"path": "t/one/ori/2.png", "bbox": [-1, 0, 5, 5]}, "found [-1, 0, 5, 5]"),
        ({"path": "t/one/ori/2.png", "bbox": [5, 0, 5, 5]}, "found [5, 0, 5, 5]"),
        ({"path": "t/one/ori/2.png", "bbox": [0, 6, 5, 5]}, "found [0, 6, 5, 5]"),
        ({"path": "2.png", "bbox": [0, 0, 5, 5]}, "path has to end in <video>/ori/<frame>.png"),
        ({"bbox": [0, 0, 5, 5]}, "path has to end in <video>/ori/<frame>.png"),
        (
            {"path": "t/one/ori/2.png", "bbox": [0, 0, 5, 5], "video": 1},
            "path has to end in <video>/ori/<frame>.png",
        ),
        ({"path": "t/one/ori/4.png", "bbox": [0, 0, 5, 5]}, "video one has no frame 4"),
        ({"path": "t/one/ori/02.png", "bbox": [0, 0, 5, 5]}, "video one has no frame 02"),
    ],
)
def test_malformed_region(tmp_path, entry, message):
    good = {"path": "t/one/ori/2.png", "bbox": [0, 0, 5, 5]}
    path = _entries(tmp_path, good, entry)
    text = _refused(read_regions, path, VIDEOS)
    assert text.startswith(f"{path}: sharp_regions[1]: ") and text.endswith(message)


def test_refused_region_files(tmp_path):
    path = tmp_path / "sharp_regions.json"
    assert _refused(read_regions, path, VIDEOS) == f"{path}: missing; run python RSDM/main.py first"
    for content in ([], {}, {"sharp_regions": 5}, "text"):
        _regions_file(tmp_path, content)
        assert 'expected {"sharp_regions": [...]}' in _refused(read_regions, path, VIDEOS)
    assert "holds no region of the videos" in _refused(read_regions, _entries(tmp_path), VIDEOS)
    other = {"path": "t/three/ori/2.png", "bbox": [0, 0, 5, 5]}
    assert "holds no region of the videos" in _refused(read_regions, _entries(tmp_path, other), VIDEOS)
    path.write_text('{"sharp_regions": [')
    assert _refused(read_regions, path, VIDEOS).startswith(f"{path}: not valid JSON")
    path.write_bytes(b"\xff\xfe\x00")
    assert _refused(read_regions, path, VIDEOS).startswith(f"{path}: not valid JSON")


def test_an_encoder_without_memory_says_so(tmp_path, monkeypatch):
    """OpenCV returns False and no reason where libpng fails; a user is told that memory does not suffice."""
    monkeypatch.setattr(images.cv2, "imencode", lambda *_: (False, None))
    with pytest.raises(MemoryError) as caught:
        write_image(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    assert out_of_memory(caught.value) and not list(tmp_path.iterdir())
