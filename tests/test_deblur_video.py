"""scripts/deblur_video.py: clips as people have them, from reading to the delivered file."""

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from tiny import one_thread  # noqa: F401, a fixture

from common.errors import UserError
from common.images import read_image, write_image
from common.runtime import locks
from common.videos import sorted_frames
from scripts import deblur_video
from scripts.video import adaptation, preparation
from scripts.video.cuts import CutDetector
from scripts.video.place import Place
from scripts.video.preparation import prepare
from scripts.video.sources import open_source

HEIGHT, WIDTH = tiny.SIZE


def moving(name: str, count: int, size: tuple[int, int] = tiny.SIZE) -> list[np.ndarray]:
    """A texture that moves two pixels a frame."""
    scene = tiny.texture(name, size[0], size[1] + 2 * count)
    return [np.ascontiguousarray(scene[:, 2 * index : 2 * index + size[1]]) for index in range(count)]


def save(path: Path, frames: list[np.ndarray], fps: float = 12.5) -> Path:
    """The frames as a video file that OpenCV makes."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, frames[0].shape[1::-1])
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def read(path: Path) -> list[np.ndarray]:
    return list(open_source(path).frames())


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Seventeen frames, nine of one scene and eight of another."""
    frames = moving("one", 9) + [255 - frame for frame in moving("two", 8)]
    return save(tmp_path_factory.mktemp("clip") / "holiday.mp4", frames)


class TestSources:
    def test_frames_are_counted_by_decoding(self, clip):
        source = open_source(clip)
        assert [frame.shape for frame in source.frames()] == [(HEIGHT, WIDTH, 3)] * 17
        assert source.fps == 12.5 and source.notes == [] and source.is_video

    def test_rotation_in_the_file_is_applied(self, clip, tmp_path):
        turned, content = tmp_path / "turned.mp4", bytearray(clip.read_bytes())
        # The matrix of the track header (version 0): 40 bytes after its fields begin; a quarter turn
        # clockwise.
        place = content.index(b"tkhd") + 4 + 40
        content[place : place + 36] = struct.pack(
            ">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, HEIGHT << 16, 0, 1 << 30
        )
        turned.write_bytes(content)
        upright, rotated = read(clip)[3], read(turned)[3]
        np.testing.assert_array_equal(rotated, np.rot90(upright, -1))

    @pytest.mark.parametrize("content", [b"hello, no video", b"", bytes(500)])
    def test_what_is_no_video_is_refused(self, tmp_path, content):
        path = tmp_path / "text.mp4"
        path.write_bytes(content)
        with pytest.raises(UserError, match="text.mp4: not a video that can be decoded"):
            read(path)

    def test_a_truncated_video_is_refused(self, clip, tmp_path):
        path = tmp_path / "cut.mp4"
        path.write_bytes(clip.read_bytes()[:-1500])
        with pytest.raises(UserError, match="cut.mp4: "):
            read(path)

    def test_images_are_converted_and_a_line_says_so(self, tmp_path):
        colour = moving("images", 4)
        grey, deep = cv2.cvtColor(colour[1], cv2.COLOR_RGB2GRAY), colour[3].astype(np.uint16) * 257
        cv2.imwrite(str(tmp_path / "f2.png"), grey)
        cv2.imwrite(str(tmp_path / "f10.png"), cv2.cvtColor(colour[2], cv2.COLOR_RGB2BGRA))
        cv2.imwrite(str(tmp_path / "f11.tif"), deep[..., ::-1])
        write_image(tmp_path / "f1.png", colour[0])
        (tmp_path / "notes.txt").write_text("not an image")
        source = open_source(tmp_path)
        frames = list(source.frames())
        assert source.names == ["f1", "f2", "f10", "f11"]
        np.testing.assert_array_equal(frames[1], np.repeat(grey[..., None], 3, axis=2))
        for index in (0, 2, 3):
            np.testing.assert_array_equal(frames[index], colour[index])
        assert source.notes == [
            "1 other files passed over",
            "1 of 4 images were grey",
            "1 of 4 images had transparency, which was dropped",
            "1 of 4 images had more than 8 bits and were reduced to 8",
        ]

    def test_folders_that_are_no_clip_are_refused(self, tmp_path):
        with pytest.raises(UserError, match="holds no images"):
            open_source(tmp_path)
        write_image(tmp_path / "1.png", moving("a", 1)[0])
        write_image(tmp_path / "2.png", moving("a", 1)[0][:-1])
        with pytest.raises(UserError, match=r"2.png: is 72 x 63 pixels, 1.png is 72 x 64"):
            read(tmp_path)
        write_image(tmp_path / "1.jpg", moving("a", 1)[0])
        with pytest.raises(UserError, match="several images named 1"):
            open_source(tmp_path)
        with pytest.raises(UserError, match="is one image"):
            open_source(tmp_path / "1.png")
        with pytest.raises(UserError, match="does not exist"):
            open_source(tmp_path / "nothing.mp4")


class TestCuts:
    def cuts(self, frames) -> list[int]:
        detector = CutDetector()
        return [index for index, frame in enumerate(frames) if detector.starts_shot(frame)]

    def test_a_cut_is_found_and_motion_is_none(self):
        assert self.cuts(moving("one", 9) + [255 - frame for frame in moving("two", 8)]) == [9]
        fast = tiny.texture("fast", 120, 400)
        assert self.cuts([fast[:, start : start + 160] for start in range(0, 240, 12)]) == []

    def test_black_and_flat_frames_are_no_cuts(self):
        black, flat = np.zeros((60, 80, 3), np.uint8), np.full((60, 80, 3), 128, np.uint8)
        assert self.cuts([black] * 5 + [black + 2] * 5) == []
        assert self.cuts([black] * 3 + [flat] * 3) == [3]

    def test_brightness_that_changes_is_no_cut(self):
        frames = moving("light", 8)
        assert (
            self.cuts([(frame * (0.6 + 0.05 * index)).astype(np.uint8) for index, frame in enumerate(frames)])
            == []
        )


class TestPreparation:
    def test_shots(self, clip, tmp_path):
        clips = prepare([open_source(clip)], tmp_path / "out")
        assert [(shot.video, shot.start, shot.stop) for shot in clips[0].shots] == [
            ("holiday", 0, 9),
            ("holiday_shot2", 9, 17),
        ]
        frames = read(clip)
        for shot in clips[0].shots:
            paths = sorted_frames(tmp_path / "out" / "frames" / shot.video / "Blur" / "RGB")
            assert [path.stem for path in paths] == [f"{index:06d}" for index in range(shot.start, shot.stop)]
            np.testing.assert_array_equal(read_image(paths[0]), frames[shot.start])
        assert clips[0].notes == ["2 shots, cut before frame 9"]
        assert prepare([open_source(clip)], tmp_path / "out") == clips

    @pytest.mark.parametrize("count", [1, 3])
    def test_nothing_is_left_of_a_clip_that_is_too_short(self, tmp_path, count):
        short = save(tmp_path / "short.mp4", moving("short", count))
        with pytest.raises(UserError, match=f"has {count} frames?; at least 5 are needed"):
            prepare([open_source(short)], tmp_path / "deep" / "out")
        assert os.listdir(tmp_path) == ["short.mp4"]

    def test_a_reading_that_was_killed_starts_again(self, clip, tmp_path):
        out = tmp_path / "out"
        (out / ".frames-unfinished" / "holiday").mkdir(parents=True)
        (out / "clip.json").write_text('{"clips": []}')
        assert len(prepare([open_source(clip)], out)) == 1
        assert sorted(os.listdir(out)) == [locks.LOCK, "clip.json", "frames"]

    def test_a_run_that_was_killed_while_it_wrote_its_record_starts_again(self, clip, tmp_path):
        out = tmp_path / "out"
        for again in range(2):
            out.mkdir(exist_ok=True)
            (out / ".tmp-1-0a1b2c3d.json").write_text("{")
            assert len(prepare([open_source(clip)], out)) == 1
            assert sorted(os.listdir(out)) == [locks.LOCK, "clip.json", "frames"], again

    def test_nothing_is_left_of_a_reading_that_is_interrupted_at_its_end(self, clip, tmp_path, monkeypatch):
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(preparation, "note", interrupted)
            prepare([open_source(clip)], tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_folders_of_others_are_left_alone(self, clip, tmp_path):
        (tmp_path / "frames").mkdir()
        (tmp_path / "frames" / "mine.png").touch()
        with pytest.raises(UserError, match="holds files that are not of this command"):
            prepare([open_source(clip)], tmp_path)
        assert (tmp_path / "frames" / "mine.png").exists()

    def test_another_clip_is_refused(self, clip, tmp_path):
        other = save(tmp_path / "other.mp4", moving("other", 6))
        prepare([open_source(clip)], tmp_path / "out")
        with pytest.raises(UserError, match="holiday.mp4, which has changed"):
            prepare([open_source(other)], tmp_path / "out")

    def test_clips_of_one_name(self, clip, tmp_path):
        again = shutil.copy(clip, tmp_path / "holiday.mp4")
        clips = prepare([open_source(clip), open_source(again)], tmp_path / "out")
        assert [shot.video for part in clips for shot in part.shots] == [
            "holiday",
            "holiday_shot2",
            "holiday_2",
            "holiday_2_shot2",
        ]


class TestPlace:
    def test_where_results_go(self, clip, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        source = open_source(clip)
        parts = prepare([source], tmp_path / "prepared")
        assert Place(None, [source]).results(parts) == [tmp_path / "holiday_deblurred" / "holiday.mp4"]
        assert Place(Path("x"), [source]).results(parts) == [tmp_path / "x" / "holiday.mp4"]
        named = Place(Path("x.mkv"), [source])
        assert named.results(parts) == [tmp_path / "x.mkv"] and named.folder == tmp_path / "x_files"
        assert Place(None, [source, source]).folder == tmp_path / "deblurred"
        with pytest.raises(UserError, match="one file for 2 clips"):
            Place(Path("x.mp4"), [source, source])

    def test_clips_are_not_written_over(self, clip, tmp_path):
        with pytest.raises(UserError, match="would be written over"):
            Place(clip, [open_source(clip)])
        with pytest.raises(UserError, match="would be written over"):
            Place(clip.parent, [open_source(clip)])
        write_image(tmp_path / "1.png", moving("a", 1)[0])
        with pytest.raises(UserError, match="would be written over"):
            Place(tmp_path / "result", [open_source(tmp_path)])

    def test_files_of_others_are_not_replaced(self, clip, tmp_path):
        place, target = Place(tmp_path / "x.mp4", [open_source(clip)]), tmp_path / "x.mp4"
        parts = prepare([open_source(clip)], place.folder)
        target.write_text("mine")
        with pytest.raises(UserError, match="exists already and is not from this command"):
            place.check(parts)
        # Of a run that was killed between writing and noting down that all is done.
        place.begin(parts)
        place.check(parts)


def deblur(*arguments, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["deblur_video.py", *map(str, arguments)])
    try:
        deblur_video.main()
    finally:
        locks.release()


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Path:
    """The tiny case's configuration with what configs/video.yaml sets."""
    folder = tmp_path_factory.mktemp("settings")
    return tiny.make(
        folder,
        dataset={"min_frames": 1},
        rsdm={"ratio": 0.6, "initial_threshold": 0.4},
        deblurring={"select": "best_pairs", "learning_rate": 1e-5},
    )


@pytest.fixture(scope="module")
def whole(clip, settings, tmp_path_factory) -> Path:
    """A run from start to end; the folder it wrote."""
    out = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        deblur(clip, "--config", settings, "--out", out, monkeypatch=patch)
    return out


class TestWholeRuns:
    def test_the_result_has_frames_size_and_rate_of_the_clip(self, whole, clip):
        source = open_source(whole / "holiday.mp4")
        assert [frame.shape for frame in source.frames()] == [(HEIGHT, WIDTH, 3)] * 17 and source.fps == 12.5
        assert (whole / "report.html").stat().st_size > 1000
        shots = whole / "deblurring" / "ESTRNN" / "adapted"
        assert [len(os.listdir(shots / shot)) for shot in ("holiday", "holiday_shot2")] == [9, 8]
        assert (
            sum(
                len(os.listdir(folder)) for folder in (shots.parent / "baseline").iterdir() if folder.is_dir()
            )
            == 10
        )

    def test_a_second_run_says_that_it_is_done(self, whole, clip, settings, monkeypatch, capsys):
        before = (whole / "holiday.mp4").stat().st_mtime_ns
        deblur(clip, "--config", settings, "--out", whole, monkeypatch=monkeypatch)
        assert f"done already: {whole / 'holiday.mp4'}" in capsys.readouterr().out
        assert (whole / "holiday.mp4").stat().st_mtime_ns == before

    def test_other_settings_are_refused(self, whole, clip, settings, monkeypatch):
        with pytest.raises(UserError, match="made with other settings: rsdm.ratio: 0.6 -> 0.5"):
            deblur(
                clip, "--config", settings, "--out", whole, "--set", "rsdm.ratio=0.5", monkeypatch=monkeypatch
            )

    def test_a_preview_and_what_follows_it(self, whole, clip, settings, tmp_path, monkeypatch, capsys):
        out = tmp_path / "out"
        deblur(clip, "--config", settings, "--out", out, "--preview", monkeypatch=monkeypatch)
        assert "sharp regions; about" in capsys.readouterr().out
        assert (out / "report.html").exists() and not (out / "holiday.mp4").exists()
        adapted = out / "deblurring" / "ESTRNN" / "adapted"
        assert sum(len(os.listdir(folder)) for folder in adapted.iterdir() if folder.is_dir()) == 10
        deblur(clip, "--config", settings, "--out", out, monkeypatch=monkeypatch)
        assert (out / "holiday.mp4").read_bytes() == (whole / "holiday.mp4").read_bytes()

    def test_images_give_images(self, settings, tmp_path, monkeypatch):
        folder, names = tmp_path / "my frames", [f"shot_{index}" for index in range(8, 16)]
        for name, frame in zip(names, moving("images", 8, tiny.ODD_SIZE)):
            write_image(folder / f"{name}.png", frame)
        monkeypatch.chdir(tmp_path)
        deblur(folder, "--config", settings, monkeypatch=monkeypatch)
        results = tmp_path / "my frames_deblurred" / "restored" / "my frames"
        assert sorted(os.listdir(results)) == sorted(f"{name}.png" for name in names)
        assert read_image(results / "shot_8.png").shape == (*tiny.ODD_SIZE, 3)

    def test_without_a_sharp_region_the_unadapted_result_is_delivered(
        self, clip, settings, tmp_path, monkeypatch, capsys
    ):
        deblur(
            clip,
            "--config",
            settings,
            "--out",
            tmp_path / "out",
            "--set",
            "rsdm.min_size=512",
            monkeypatch=monkeypatch,
        )
        assert "the unadapted network's result is delivered" in capsys.readouterr().out
        assert len(read(tmp_path / "out" / "holiday.mp4")) == 17
        assert not (tmp_path / "out" / "deblurring" / "ESTRNN" / "adapted").exists()
        notes = json.loads((tmp_path / "out" / "clip.json").read_text())["notes"]
        assert any("unadapted network's result is delivered" in words for words in notes)

    def test_what_was_borrowed_is_delivered(self, whole, clip, settings, tmp_path, monkeypatch, capsys):
        out = tmp_path / "out"
        shutil.copytree(whole, out)
        os.remove(out / "result.json")
        os.remove(out / "holiday.mp4")
        arguments = (clip, "--config", settings, "--out", out, "--set", "deblurring.fusion=aligned")
        deblur(*arguments, monkeypatch=monkeypatch)
        assert "stage 4: fused" in capsys.readouterr().out
        network = out / "deblurring" / "ESTRNN"
        for shot, frames in (("holiday", 9), ("holiday_shot2", 8)):
            fused = sorted((network / "fused" / shot).iterdir())
            assert len(fused) == frames == len(list((network / "aligned" / shot / "weight").iterdir()))
            for path in fused:
                weight = read_image(network / "aligned" / shot / "weight" / path.name)[..., 0]
                restored = read_image(network / "adapted" / shot / path.name)
                assert np.array_equal(read_image(path)[weight == 0], restored[weight == 0])
        assert len(read(out / "holiday.mp4")) == 17
        assert "Borrowed from" in (out / "report.html").read_text()
        # Where the two together look unsound, the network's result alone is delivered, and it is said.
        os.remove(out / "result.json")
        os.remove(out / "holiday.mp4")
        monkeypatch.setattr(
            adaptation,
            "sanity_problems",
            lambda stage, folder: {"holiday": ["flickers"]} if folder.name == "fused" else {},
        )
        delivered = {}
        monkeypatch.setattr(
            deblur_video,
            "deliver",
            lambda part, restored, target, folder: (
                delivered.update(restored) or shutil.copy(whole / "holiday.mp4", target) and []
            ),
        )
        deblur(*arguments, monkeypatch=monkeypatch)
        assert "holiday: with what was borrowed flickers: delivered without it" in capsys.readouterr().out
        assert {shot: folder.parent.name for shot, folder in delivered.items()} == {
            "holiday": "adapted",
            "holiday_shot2": "fused",
        }

    def test_an_unsound_shot_is_replaced(self, whole, clip, settings, tmp_path, monkeypatch, capsys):
        out = tmp_path / "out"
        shutil.copytree(whole, out)
        os.remove(out / "result.json")
        os.remove(out / "holiday.mp4")
        monkeypatch.setattr(
            adaptation, "sanity_problems", lambda stage, folder: {"holiday_shot2": ["flickers"]}
        )
        delivered = {}
        monkeypatch.setattr(
            deblur_video,
            "deliver",
            lambda part, restored, target, folder: (
                delivered.update(restored) or shutil.copy(whole / "holiday.mp4", target) and []
            ),
        )
        deblur(clip, "--config", settings, "--out", out, monkeypatch=monkeypatch)
        assert (
            "holiday_shot2: the adapted result flickers: the unadapted network's is delivered"
            in capsys.readouterr().out
        )
        assert {shot: folder.parent.name for shot, folder in delivered.items()} == {
            "holiday": "adapted",
            "holiday_shot2": "baseline",
        }
        assert len(os.listdir(delivered["holiday_shot2"])) == 8


@pytest.mark.parametrize("name", ["three", "text", "nowhere"])
def test_a_mistake_is_one_line_and_leaves_nothing(name, clip, settings, tmp_path, monkeypatch):
    out = tmp_path / "out"
    if name == "three":
        given = save(tmp_path / "three.mp4", moving("three", 3))
    elif name == "text":
        given = tmp_path / "text.mp4"
        given.write_text("no video")
    else:
        given, out = clip, tmp_path / "file" / "out"
        (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as error:
        deblur(given, "--config", settings, "--out", out, monkeypatch=monkeypatch)
    assert "\n" not in str(error.value) and sorted(tmp_path.rglob("*")) == before


def test_a_second_run_at_the_same_time_is_refused(clip, tmp_path):
    out = tmp_path / "out"
    prepare([open_source(clip)], out)
    code = (
        f"import sys; sys.path.insert(0, {str(tiny.ROOT)!r})\nfrom pathlib import Path\n"
        "from common.runtime import locks\n"
        f"locks.hold(Path({str(out)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode and f"in use by another run (process {os.getpid()})" in done.stderr
