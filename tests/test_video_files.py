"""scripts/video: video files read and written with PyAV; every file is made here."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import clips
import numpy as np
import pytest

from common.errors import UserError
from common.runtime import locks
from scripts.video import colour, damage
from scripts.video.colour import HLG, PQ, Colour
from scripts.video.interlaced import combed, field_order
from scripts.video.orientation import swaps_sides, turn_of, turned
from scripts.video.place import Place
from scripts.video.preparation import prepare
from scripts.video.reading import VideoReader
from scripts.video.sources import open_source
from scripts.video.writing import write_video

SMALL = (64, 96)


def read(path: Path, keep_going: bool = False) -> tuple[list[np.ndarray], VideoReader]:
    reader = VideoReader(path, keep_going)
    return list(reader.pictures()), reader


def seconds(reader: VideoReader) -> list[float]:
    return [float(time * reader.base) for time in reader.times]


def error(first: list[np.ndarray], second: list[np.ndarray]) -> float:
    """Mean absolute difference in grey levels."""
    assert len(first) == len(second)
    return float(np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(first, second)]))


def rewritten(path: Path, target: Path, folder: Path) -> list[str]:
    """The clip read and written as it is; what was said."""
    source = open_source(path)
    frames = list(source.frames())
    return write_video(target, lambda: frames, source.film, path, folder)


class TestReading:
    @pytest.mark.parametrize(
        "name, codec, pixels, notes",
        [
            ("a.mp4", "libsvtav1", "yuv420p", []),
            ("a.webm", "libvpx-vp9", "yuv420p", []),
            ("a.mkv", "libvpx", "yuv420p", []),
            ("a.mp4", "libx265", "yuv420p", []),
            ("a.mp4", "libx265", "yuv420p10le", ["10 bits a channel become 8"]),
            (
                "a.mov",
                "prores_ks",
                "yuv422p10le",
                ["10 bits a channel become 8", "colour resolution 4:2:2 becomes 4:2:0"],
            ),
            ("a.mp4", "libx264", "yuv444p", ["colour resolution 4:4:4 becomes 4:2:0"]),
            ("a.avi", "mjpeg", "yuvj420p", []),
            ("a.avi", "mpeg4", "yuv420p", []),
            ("a.mkv", "ffv1", "bgr0", []),
            ("a.mov", "qtrle", "argb", []),
            ("a.ts", "mpeg2video", "yuv420p", []),
            ("a.gif", "gif", "rgb8", []),
            ("a.h264", "libx264", "yuv420p", []),
            ("a.wmv", "wmv2", "yuv420p", []),
            ("a.flv", "libx264", "yuv420p", []),
        ],
    )
    def test_what_is_read(self, tmp_path, name, codec, pixels, notes):
        frames = clips.moving(12, (64, 96))
        span = "pc" if pixels.startswith("yuvj") else "tv"
        options = {"qscale": "2"} if codec in ("mpeg4", "mjpeg", "mpeg2video", "wmv2") else {}
        options |= {"crf": "20", "preset": "10"} if codec == "libsvtav1" else {}
        clips.make(tmp_path / name, frames, codec=codec, pixels=pixels, span=span, options=options)
        pictures, reader = read(tmp_path / name)
        most = 15 if codec == "gif" else 3.5 if codec in ("libx264", "libx265", "prores_ks", "ffv1") else 8
        assert error(pictures, frames) < most
        assert np.abs(np.mean(pictures) - np.mean(frames)) < 1.5
        assert reader.rate == pytest.approx(25) and len(set(np.diff(reader.times))) == 1
        lost = f"the result holds less than the original: {', '.join(notes)}"
        assert reader.notes == ([lost] if notes else [])

    @pytest.mark.parametrize("rate", [1000, Fraction(24000, 1001), Fraction(1, 10), 240])
    @pytest.mark.parametrize("ending", ["mp4", "mkv"])
    def test_any_rate(self, tmp_path, rate, ending):
        path = clips.make(tmp_path / f"a.{ending}", clips.moving(55, (32, 32)), rate=rate)
        _, reader = read(path)
        assert reader.rate == pytest.approx(float(rate), rel=1e-6)
        assert float(reader.end * reader.base) == pytest.approx(55 / float(rate), abs=2e-3)
        rewritten(path, tmp_path / "b.mp4", tmp_path)
        again = read(tmp_path / "b.mp4")[1]
        assert again.rate == pytest.approx(float(rate), rel=1e-3) and len(again.times) == 55
        assert seconds(again) == pytest.approx(seconds(reader), abs=1e-6)

    def test_what_is_said_of_a_variable_rate(self, tmp_path):
        times = [0, 40, 80, 200, 240, 600, 640, 680]
        path = clips.make(
            tmp_path / "a.mkv", clips.moving(8), times=times, base=Fraction(1, 1000), options={"bf": "0"}
        )
        _, reader = read(path)
        assert reader.times == times and reader.notes == ["the frame rate varies, each frame keeps its time"]

    def test_an_edit_list_hides_frames(self, tmp_path):
        frames = clips.moving(20)
        # Frames before time zero are not shown: what a cut without encoding writes.
        path = clips.make(tmp_path / "a.mp4", frames, times=range(-8, 12), options={"bf": "0"})
        with av.open(str(path)) as file:
            assert sum(1 for packet in file.demux(video=0) if packet.size) == 20
        pictures, reader = read(path)
        assert error(pictures, frames[8:]) < 3 and seconds(reader)[0] == 0 and reader.notes == []

    def test_a_file_without_a_picture_is_refused(self, tmp_path):
        sound = tmp_path / "a.mp4"
        with av.open(str(sound), "w") as file:
            voice = file.add_stream("aac", rate=clips.RATE)
            voice.codec_context.layout = "mono"
            for packet in clips._sound(voice, 0, 1, None):
                file.mux(packet)
        with pytest.raises(UserError, match="holds sound but no video"):
            read(sound)

    @pytest.mark.parametrize(
        "name", ["12:30.mp4", "%d.mp4", "-a.mp4", "ein film.mp4", "фильм.mp4", "a'b#?.mp4"]
    )
    def test_odd_names(self, tmp_path, monkeypatch, name):
        monkeypatch.chdir(tmp_path)
        clips.make(tmp_path / name, clips.moving(6))
        assert len(read(Path(name))[0]) == len(read(tmp_path / name)[0]) == 6
        rewritten(Path(name), tmp_path / "out" / name, tmp_path)
        assert len(read(tmp_path / "out" / name)[0]) == 6

    def test_pixels_that_are_not_square_stay_so(self, tmp_path):
        path = clips.make(tmp_path / "a.mp4", clips.moving(6), shape=Fraction(64, 45))
        assert read(path)[1].aspect == Fraction(64, 45)
        rewritten(path, tmp_path / "b.mkv", tmp_path)
        assert float(read(tmp_path / "b.mkv")[1].aspect) == pytest.approx(64 / 45, abs=1e-3)

    def test_a_recording_that_begins_between_key_frames(self, tmp_path):
        path = clips.make(tmp_path / "a.ts", clips.moving(40), options={"g": "10", "bf": "0"})
        content = path.read_bytes()
        # Tables, then packets of 188 bytes from the middle on.
        path.write_bytes(content[: 188 * 3] + content[len(content) * 3 // 5 // 188 * 188 :])
        pictures, reader = read(path)
        assert 10 <= len(pictures) < 20
        assert any("before the first key frame cannot be shown" in words for words in reader.notes)


class TestOrientation:
    SIGNS = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]
    SIGNS += [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)]

    @pytest.mark.parametrize("turn", SIGNS)
    def test_a_matrix_moves_a_picture_as_it_says(self, turn):
        a, b, c, d = turn
        one = 1 << 16
        matrix = struct.pack("=9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
        assert turn_of(matrix) == turn
        picture = np.arange(12).reshape(3, 4)
        result = turned(picture, turn)
        for y in range(3):
            for x in range(4):
                column, row = a * x + c * y, b * x + d * y
                column += (result.shape[1] - 1) if a + c < 0 else 0
                row += (result.shape[0] - 1) if b + d < 0 else 0
                assert result[row, column] == picture[y, x]
        assert swaps_sides(turn) == (result.shape != picture.shape)

    def test_another_angle_is_none(self):
        assert turn_of(struct.pack("=9i", 46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30)) is None
        assert turn_of(bytes(36)) == (1, 0, 0, 1)


class TestInterlaced:
    def woven(self, top_first: bool, size=(96, 128), step=4, count=24) -> list[np.ndarray]:
        moments, frames = clips.moving(count, size, step=step), []
        for first, second in zip(moments[::2], moments[1::2]):
            frame = first.copy()
            frame[int(top_first) :: 2] = second[int(top_first) :: 2]
            frames.append(frame)
        return frames

    @pytest.mark.parametrize(
        "name, codec, pixels, top_first, options",
        [
            ("a.mp4", "libx264", "yuv420p", True, {"x264-params": "tff=1"}),
            ("a.mkv", "libx264", "yuv420p", False, {"x264-params": "bff=1"}),
            ("a.ts", "mpeg2video", "yuv420p", True, {"flags": "+ildct+ilme", "qscale": "2"}),
            ("a.mov", "prores_ks", "yuv422p10le", True, {"flags": "+ildct+ilme"}),
        ],
    )
    def test_interlaced_video_is_deinterlaced(self, tmp_path, name, codec, pixels, top_first, options):
        path = clips.make(tmp_path / name, self.woven(top_first), codec=codec, pixels=pixels, options=options)
        assert field_order(path) == ("tff" if top_first else "bff")
        pictures, reader = read(path)
        assert reader.notes[0] == "the video is interlaced, its frames were deinterlaced"
        moments = clips.moving(24, (96, 128), step=4)
        assert len(pictures) == 12 and not any(combed(picture[..., 1]) for picture in pictures)
        # The rows of the first moment are the frame's; the other half is made up from neighbours.
        grey = [[picture.mean(axis=2) for picture in part] for part in (pictures[1:-1], moments[2:-2:2])]
        assert error(*grey) < 5.5
        assert len(set(np.diff(reader.times))) == 1

    def test_dv(self, tmp_path):
        frames = self.woven(False, (576, 720), 8, 12)
        path = clips.make(tmp_path / "a.avi", frames, codec="dvvideo")
        pictures, reader = read(path)
        assert "the video is interlaced, its frames were deinterlaced" in reader.notes and len(pictures) == 6
        assert not any(combed(picture[..., 1]) for picture in pictures)

    def test_progressive_content_that_is_marked_is_taken_as_it_is(self, tmp_path):
        frames = clips.moving(16, (96, 128), step=4)
        path = clips.make(tmp_path / "a.mp4", frames, options={"x264-params": "tff=1"})
        with av.open(str(path)) as file:
            assert next(file.decode(video=0)).interlaced_frame
        pictures, reader = read(path)
        assert reader.notes == [] and error(pictures, frames) < 3


DAMAGED = [
    ("a.mp4", "libx264", "aac"),
    ("a.mkv", "libx264", "aac"),
    ("a.ts", "libx264", "aac"),
    ("a.webm", "libvpx-vp9", "libopus"),
    ("a.avi", "mpeg4", "mp2"),
    ("a.avi", "mjpeg", "mp2"),
    ("a.mov", "prores_ks", "pcm_s16le"),
    ("a.mp4", "libx265", "aac"),
    ("a.mp4", "libsvtav1", "aac"),
]


class TestDamage:
    def healthy(self, path: Path, codec: str, sound: str) -> Path:
        pixels = "yuv422p10le" if codec == "prores_ks" else "yuvj420p" if codec == "mjpeg" else "yuv420p"
        options = {"g": "15"} | ({"preset": "10"} if codec == "libsvtav1" else {})
        noise, frames = np.random.default_rng(0), clips.moving(40)
        frames = [(frame + noise.normal(0, 6, frame.shape)).clip(0, 255).astype(np.uint8) for frame in frames]
        return clips.make(path, frames, codec=codec, pixels=pixels, sounds=[(sound, 0, 1.6)], options=options)

    @pytest.mark.parametrize("name, codec, sound", DAMAGED)
    def test_bytes_written_over_in_the_middle(self, tmp_path, name, codec, sound):
        path = self.healthy(tmp_path / name, codec, sound)
        assert len(read(path)[0]) == 40
        content = bytearray(path.read_bytes())
        start, count = len(content) // 2, len(content) // 20
        content[start : start + count] = np.random.default_rng(1).integers(0, 256, count, np.uint8).tobytes()
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"cut off: \d+ of 40 frames are lost \(at ") as refusal:
            read(path)
        pictures, reader = read(path, keep_going=True)
        lost = int(str(refusal.value).split("cut off: ")[1].split()[0])
        assert len(pictures) == 40 - lost and 0 < lost < 25
        assert reader.notes[-1].startswith(f"the file is damaged: {lost} of 40 frames are lost (at ")
        # Those that are left keep their times.
        assert seconds(reader)[0] == pytest.approx(0, abs=0.1)
        steps = np.diff(seconds(reader)) / 0.04
        assert np.abs(steps - steps.round()).max() < 0.05
        if codec != "libx265":
            assert seconds(reader)[-1] - seconds(reader)[0] == pytest.approx(1.56, abs=0.002)

    @pytest.mark.parametrize(
        "name, codec, sound",
        [("a.mkv", "libx264", "aac"), ("a.webm", "libvpx-vp9", "libopus"), ("a.avi", "mpeg4", "mp2")],
    )
    def test_a_file_that_was_cut_off(self, tmp_path, name, codec, sound):
        path = self.healthy(tmp_path / name, codec, sound)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * 6 // 10])
        with pytest.raises(UserError, match=r"\d+ of 40 frames are lost \(at 0\.\d+ to 1\.6\d* s\)"):
            read(path)

    def test_a_cut_off_file_whose_index_comes_first(self, tmp_path):
        path = clips.make(tmp_path / "a.mp4", clips.moving(40), container={"movflags": "faststart"})
        path.write_bytes(path.read_bytes()[:-2500])
        with pytest.raises(UserError, match=r"\d+ of 40 frames are lost"):
            read(path)

    @pytest.mark.parametrize("share", [0.3, 0.45, 0.6, 0.75, 0.9])
    @pytest.mark.parametrize("name, codec", [("a.mkv", "libx264"), ("a.webm", "libvpx-vp9")])
    def test_a_silent_file_that_was_cut_off_anywhere(self, tmp_path, name, codec, share):
        path = clips.make(tmp_path / name, clips.moving(14), codec=codec, options={"g": "5"})
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        with pytest.raises(UserError, match="of 14 frames are lost|damaged, cut off"):
            read(path)

    def test_a_silent_transport_stream_that_was_written_over(self, tmp_path):
        path = clips.make(tmp_path / "a.ts", clips.moving(14), options={"g": "5"})
        content = bytearray(path.read_bytes())
        content[2000:4500] = np.random.default_rng(1).integers(0, 256, 2500, np.uint8).tobytes()
        path.write_bytes(content)
        with pytest.raises(UserError, match="of 14 frames are lost"):
            read(path)

    def test_a_last_frame_that_is_shown_long_is_no_damage(self, tmp_path):
        times = [*range(9), 60]
        for name in ("a.mkv", "a.ts"):
            pictures, reader = read(clips.make(tmp_path / name, clips.moving(10), times=times))
            assert len(pictures) == 10 and not any("damaged" in words for words in reader.notes)

    def test_what_is_told(self):
        times = np.arange(0, 400, 10)
        lost = np.array([50, 60, 70, 200])
        words = damage.told(lost, 40, 3, Fraction(1, 100), 0, 10.0)
        assert words == (
            "4 of 40 frames are lost (at 0.500 to 0.800 s, 2.000 to 2.100 s), 3 after them may look damaged"
        )
        keys = np.array([0, 100, 300])
        left = damage.without(times, lost.tolist())
        assert damage.after_losses(times, lost, times) == 0 or len(left) == 36
        # 80 and 90 come before the key at 100, 210 to 290 before that at 300.
        assert damage.after_losses(np.setdiff1d(times, lost), lost, keys) == 2 + 9

    def test_gaps_are_filled(self):
        there = np.array([0, 40, 80, 240, 280])
        assert damage.usual_interval(there) == 40
        assert damage.filled(there, 40, 400).tolist() == [0, 40, 80, 120, 160, 200, 240, 280, 320, 360]


class TestColour:
    @pytest.mark.parametrize("matrix, number", [("bt709", 1), ("bt601", 6), ("bt2020", 9), ("smpte240m", 7)])
    @pytest.mark.parametrize("span", ["tv", "pc"])
    def test_matrix_and_range(self, tmp_path, matrix, number, span):
        frames = clips.moving(5, (64, 96))
        tags = {"colorspace": number, "color_primaries": 1, "color_trc": 1}
        tags["color_range"] = 1 if span == "tv" else 2
        path = clips.make(
            tmp_path / "a.mkv", frames, codec="ffv1", pixels="yuv444p", matrix=matrix, span=span, colour=tags
        )
        pictures, reader = read(path)
        assert error(pictures, frames) < 0.8
        rewritten(path, tmp_path / "b.mp4", tmp_path)
        with av.open(str(tmp_path / "b.mp4")) as file:
            context = file.streams.video[0].codec_context
            found = context.colorspace, context.color_primaries, context.color_trc, context.color_range
        assert found == (number, 1, 1, 1)
        assert error(read(tmp_path / "b.mp4")[0], frames) < 3

    def test_what_is_not_stated_is_what_players_take(self):
        assert [colour.matrix_name(Colour(), *size) for size in ((1920, 1080), (720, 1280), (720, 576))] == [
            "bt709",
            "bt709",
            "bt601",
        ]
        assert colour.matrix_name(Colour(2, 9, 16), 640, 480) == "bt2020"
        assert colour.matrix_name(Colour(2, 6, 6), 1920, 1080) == "bt601"
        with pytest.raises(ValueError, match="YCgCo"):
            colour.matrix_name(Colour(8, 1, 1), 640, 480)

    def test_untagged_stays_untagged(self, tmp_path):
        frames = clips.moving(6)
        path = clips.make(tmp_path / "a.mp4", frames)
        rewritten(path, tmp_path / "b.mp4", tmp_path)
        with av.open(str(tmp_path / "b.mp4")) as file:
            context = file.streams.video[0].codec_context
            assert (context.colorspace, context.color_primaries, context.color_trc) == (2, 2, 2)
        assert error(read(tmp_path / "b.mp4")[0], frames) < 3

    def test_known_values_of_the_bright_curves(self):
        # BT.2408: reference white is 58 % of PQ and 75 % of HLG.
        assert colour.pq_light(np.array(0.58)) == pytest.approx(203, abs=2)
        assert colour.pq_light(np.array([0.0, 1.0])) == pytest.approx([0, 10000])
        assert colour.pq_code(colour.pq_light(np.linspace(0, 1, 9))) == pytest.approx(
            np.linspace(0, 1, 9), abs=1e-6
        )
        assert 1000 * colour.hlg_scene(np.array(0.75)) ** 1.2 == pytest.approx(203, abs=1)
        assert colour.hlg_scene(np.array([0, 0.5, 1])) == pytest.approx([0, 1 / 12, 1], abs=1e-6)

    def test_grey_of_bright_video(self):
        levels = np.linspace(0, 1, 33)
        for transfer in (PQ, HLG):
            code = (65535 * levels).round().astype(np.uint16)
            grey = np.repeat(code[:, None, None], 3, axis=2)
            seen = colour.to_ordinary(grey, Colour(9, 9, transfer), 1000.0)[:, 0]
            assert (np.ptp(seen, axis=1) <= 1).all() and (np.diff(seen[:, 1].astype(int)) >= 0).all()
            assert seen[0, 0] == 0 and seen[-1, 0] == 255
        # Dark and middle greys keep their light: 20 cd/m2 of 203.
        code = np.full((1, 1, 3), round(65535 * float(colour.pq_code(np.array(20.0)))), np.uint16)
        wanted = 255 * (20 / 203) ** (1 / 2.4)
        assert colour.to_ordinary(code, Colour(9, 9, PQ), 1000.0)[0, 0, 1] == pytest.approx(wanted, abs=1)

    def test_wide_primaries(self):
        for primaries in (9, 11, 12):
            assert colour.gamut_matrix(primaries) @ np.ones(3) == pytest.approx(np.ones(3), abs=1e-3)
        # BT.2087: BT.709's primaries in BT.2020.
        inverse = np.linalg.inv(colour.gamut_matrix(9))
        assert inverse == pytest.approx(
            np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]), abs=2e-4
        )
        wanted = np.array([200, 60, 40])
        linear = (wanted / 255) ** 2.4
        linear = np.linalg.inv(colour.gamut_matrix(12)) @ linear
        wide = (65535 * linear ** (1 / 2.4)).round().astype(np.uint16)
        seen = colour.to_ordinary(wide[None, None], Colour(1, 12, 1), 1000.0)[0, 0]
        assert np.abs(seen.astype(int) - wanted).max() <= 1

    @pytest.mark.parametrize(
        "tags, words",
        [
            ((9, 9, 18), "HLG's high dynamic range becomes BT.709's, BT.2020's colours become BT.709's"),
            ((9, 9, 16), "PQ's high dynamic range becomes BT.709's, BT.2020's colours become BT.709's"),
            ((1, 12, 1), "Display P3's colours become BT.709's"),
            ((9, 9, 14), "BT.2020's colours become BT.709's"),
        ],
    )
    def test_wide_video_becomes_ordinary(self, tmp_path, tags, words):
        matrix = "bt2020" if tags[0] == 9 else "bt709"
        grey = [np.full((64, 96, 3), 128, np.uint8)] * 6
        path = clips.make(
            tmp_path / "a.mp4",
            grey,
            codec="libx265",
            pixels="yuv420p10le",
            matrix=matrix,
            colour=dict(zip(("colorspace", "color_primaries", "color_trc"), tags)),
        )
        pictures, reader = read(path)
        assert reader.notes == [
            f"the result holds less than the original: {words}, 10 bits a channel become 8"
        ]
        code = np.full((1, 1, 3), round(65535 * 128 / 255), np.uint16)
        wanted = colour.to_ordinary(code, Colour(*tags), 1000.0)[0, 0, 0]
        assert np.abs(pictures[2].astype(int) - wanted).max() <= 3
        rewritten(path, tmp_path / "b.mp4", tmp_path)
        with av.open(str(tmp_path / "b.mp4")) as file:
            context = file.streams.video[0].codec_context
            assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        again, reader = read(tmp_path / "b.mp4")
        assert reader.notes == [] and error(again, pictures) < 1.5

    def test_a_name_decides_nothing(self, tmp_path):
        title = {"title": "Audio: HDR"}
        path = clips.make(tmp_path / "export_bt2020_smpte2084.mp4", clips.moving(6), metadata=title)
        assert read(path)[1].notes == []
        assert rewritten(path, tmp_path / "b.mp4", tmp_path) == ["kept: title"]


def timing(path: Path) -> tuple[list[float], float, float]:
    """Times of the pictures, that of the white one, and when the beep begins, in seconds."""
    with av.open(f"file:{path}") as file:
        shown = [(float(one.time), one.to_ndarray(format="gray").mean()) for one in file.decode(video=0)]
    with av.open(f"file:{path}") as file:
        loud, moments = [], []
        for frame in file.decode(audio=0):
            samples = frame.to_ndarray().astype(float)
            loud.append(np.abs(samples).reshape(-1, frame.samples).max(axis=0))
            moments.append(float(frame.time) + np.arange(frame.samples) / frame.sample_rate)
    heard, when = np.concatenate(loud), np.concatenate(moments)
    beep = float(when[np.argmax(heard > 0.3 * heard.max())])
    return [time for time, _ in shown], max(shown, key=lambda item: item[1])[0], beep


class TestTiming:
    @pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm"])
    @pytest.mark.parametrize(
        "source, first, sound",
        [("a.mp4", 0, 0.0), ("a.mp4", 600, 0.0), ("a.mkv", 0, 0.4), ("a.mov", 600, 0.0), ("a.ts", 600, 0.0)],
    )
    def test_offsets_and_variable_rates(self, tmp_path, ending, source, first, sound):
        frames = [(frame * 0.5).astype(np.uint8) for frame in clips.moving(24)]
        frames[15] = np.full_like(frames[15], 255)
        steps = np.array([40, 40, 100, 40, 33, 40, 40, 250] * 3)
        times = (first + np.concatenate([[0], np.cumsum(steps)[:-1]])).tolist()
        flash = times[15] / 1000
        path = clips.make(
            tmp_path / source,
            frames,
            times=times,
            base=Fraction(1, 1000),
            options={"bf": "0"},
            sounds=[("aac", sound, 2.5)],
            beep=flash,
        )
        before = timing(path)
        rewritten(path, tmp_path / f"b.{ending}", tmp_path)
        after = timing(tmp_path / f"b.{ending}")
        zero = 0 if source != "a.ts" else after[0][0] - before[0][0]
        assert after[0] == pytest.approx([time + zero for time in before[0]], abs=2e-3)
        assert after[1] - after[2] == pytest.approx(before[1] - before[2], abs=0.012)
        assert abs(after[1] - after[2]) < 0.03
        ends = [open_source(tmp_path / name) for name in (source, f"b.{ending}")]
        lengths = []
        for clip in ends:
            list(clip.frames())
            lengths.append(float((clip.film.end - clip.film.times[0]) * clip.film.base))
        assert lengths[0] == pytest.approx(lengths[1], abs=0.002) or source == "a.ts"

    def test_a_container_without_times_says_so(self, tmp_path):
        path = clips.make(
            tmp_path / "a.mkv",
            clips.moving(6),
            times=[0, 40, 80, 300, 340, 380],
            base=Fraction(1, 1000),
            options={"bf": "0"},
        )
        said = rewritten(path, tmp_path / "b.avi", tmp_path)
        assert said == ["a .avi file holds no time stamps: its frames have equal distances"]
        assert len(read(tmp_path / "b.avi")[0]) == 6


class TestWriting:
    @pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"])
    @pytest.mark.parametrize("size", [(64, 72), (61, 73)])
    def test_every_ending_and_odd_sizes(self, tmp_path, ending, size):
        path = clips.make(tmp_path / "a.mkv", clips.moving(7, size), codec="ffv1", pixels="bgr0", rate=30)
        pictures, _ = read(path)
        said = rewritten(path, tmp_path / f"b{ending}", tmp_path)
        again, reader = read(tmp_path / f"b{ending}")
        assert again[0].shape == (*size, 3) and error(again, pictures) < 4
        assert reader.rate == pytest.approx(30)
        odd = size[0] % 2 and ending != ".webm"
        assert [words.split(",")[0] for words in said] == ["the size is odd"] * odd
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.mkv", f"b{ending}"]

    @pytest.mark.parametrize("ending, words", [(".mp4", "mov_text"), (".mkv", None), (".webm", "webvtt")])
    def test_what_comes_with_the_pictures_is_kept(self, tmp_path, ending, words):
        path = clips.make(
            tmp_path / "a.mkv",
            clips.moving(40),
            sounds=[("aac", 0, 1.6), ("aac", 0, 1.6)],
            languages=("eng", "deu"),
            subtitles=("subrip", [(0.2, 0.7, b"hello"), (0.9, 1.4, "schön".encode())]),
            metadata={"title": "Holiday", "creation_time": "2021-05-05T10:11:12.000000Z"},
            chapters=[(0, 0.8, "one"), (0.8, 1.6, "two")],
        )
        said = rewritten(path, tmp_path / f"b{ending}", tmp_path)
        assert said[-1] == "kept: sound in eng, sound in deu, subtitles, title, recording date, 2 chapters"
        assert any("not kept" in line for line in said) is False
        assert (words is None) != (f"subtitles were converted from subrip to {words}" in said)
        with av.open(str(tmp_path / f"b{ending}")) as file:
            assert [stream.metadata.get("language") for stream in file.streams.audio] == ["eng", "deu"]
            assert file.metadata["title"] == "Holiday"
            assert file.metadata["creation_time"] == "2021-05-05T10:11:12.000000Z"
            assert [chapter["metadata"]["title"] for chapter in file.chapters()] == ["one", "two"]
            lines = [
                (round(float(packet.pts * packet.time_base), 2), bytes(packet))
                for packet in file.demux(file.streams.subtitles[0])
                if packet.size > 2
            ]
        assert [start for start, _ in lines] == [0.2, 0.9] and lines[0][1].endswith(b"hello")
        assert lines[1][1].endswith("schön".encode())

    def test_what_a_container_cannot_hold_is_said(self, tmp_path):
        path = clips.make(
            tmp_path / "a.mkv",
            clips.moving(20),
            sounds=[("aac", 0, 0.8)],
            subtitles=("subrip", [(0.2, 0.7, b"hello")]),
            chapters=[(0, 0.8, "one")],
        )
        said = rewritten(path, tmp_path / "b.avi", tmp_path)
        assert said == [
            "sound was encoded anew, aac as mp3",
            "kept: sound",
            "not kept: subtitles (subrip), 1 chapter",
        ]

    @pytest.mark.parametrize("ending", [".mp4", ".mkv", ".mov"])
    def test_a_cover_picture(self, tmp_path, ending):
        path = self.with_cover(tmp_path / "a.mp4")
        _, reader = read(path)
        assert reader.notes == []
        said = rewritten(path, tmp_path / f"b{ending}", tmp_path)
        kept = ending != ".mov"
        assert said == ["kept: cover picture" if kept else "not kept: cover picture"]
        pictures, reader = read(tmp_path / f"b{ending}")
        assert len(pictures) == 10 and reader.colour.primaries == 2 and reader.colour.transfer == 2
        with av.open(str(tmp_path / f"b{ending}")) as file:
            assert len(file.streams.video) == 1 + kept

    @staticmethod
    def with_cover(path: Path) -> Path:
        """A clip with a cover in BT.2020 colours."""
        still = clips.make(
            path.with_name("still.mkv"),
            clips.moving(1, (48, 48)),
            codec="mjpeg",
            pixels="yuvj420p",
            colour={"color_primaries": 9, "color_trc": 16},
        )
        clip = clips.make(path.with_name("plain.mp4"), clips.moving(10))
        with av.open(str(clip)) as first, av.open(str(still)) as second, av.open(str(path), "w") as file:
            video = file.add_stream_from_template(first.streams.video[0], opaque=True)
            cover = file.add_stream_from_template(second.streams.video[0], opaque=True)
            cover.disposition = av.stream.Disposition.attached_pic.value
            for source, target in ((second, cover), (first, video)):
                for packet in source.demux(source.streams.video[0]):
                    if packet.size:
                        packet.stream = target
                        file.mux(packet)
        still.unlink()
        clip.unlink()
        return path

    def test_a_full_disk_or_a_missing_folder_is_one_line(self, tmp_path):
        path = clips.make(tmp_path / "a.mp4", clips.moving(6))
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match="b.mp4: cannot be written"):
            rewritten(path, tmp_path / "file" / "b.mp4", tmp_path)
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.mp4", "file"]


class TestDamagedClip:
    def test_a_second_run_asks_again(self, tmp_path):
        path = clips.make(tmp_path / "a.mp4", clips.moving(40), container={"movflags": "faststart"})
        path.write_bytes(path.read_bytes()[:-2500])
        source = open_source(path)
        source.keep_going = True
        clip = prepare([source], tmp_path / "out")[0]
        locks.release()
        assert clip.missing.startswith("the file is damaged: ") and clip.notes[-1] == clip.missing
        with pytest.raises(UserError, match="of 40 frames are lost .*; add --keep-going"):
            prepare([open_source(path)], tmp_path / "out")
        locks.release()


class TestNames:
    def test_results_are_named_after_a_link(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        clips.make(tmp_path / "content-4711.mp4", clips.moving(6))
        (tmp_path / "holiday.mp4").symlink_to("content-4711.mp4")
        source = open_source(Path("holiday.mp4"))
        place = Place(None, [source])
        assert place.folder == tmp_path / "holiday_deblurred"
        assert place.results(prepare([source], place.folder)) == [place.folder / "holiday.mp4"]
        locks.release()

    def test_clips_of_one_name_from_two_folders(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        paths = [tmp_path / folder / "clip.mp4" for folder in "ab"]
        for number, path in enumerate(paths):
            path.parent.mkdir()
            clips.make(path, clips.moving(6, seed=number))
        folders = []
        for path in (*paths, *paths):
            place = Place(None, [open_source(path)])
            prepare([open_source(path)], place.folder)
            locks.release()
            folders.append(place.folder.name)
        assert folders == ["clip_deblurred", "clip_deblurred_2"] * 2
        # A clip that has changed is still that clip, and asks for --overwrite.
        clips.make(paths[0], clips.moving(7, seed=3))
        place = Place(None, [open_source(paths[0])])
        assert place.folder.name == "clip_deblurred"
        with pytest.raises(UserError, match="which has changed"):
            prepare([open_source(paths[0])], place.folder)
        locks.release()

    @pytest.mark.parametrize("name", ["x.ts", "x.gif", "x.png", "x.mpg", "x.H264"])
    def test_other_endings_are_refused(self, tmp_path, name):
        path = clips.make(tmp_path / "a.mp4", clips.moving(6))
        with pytest.raises(
            UserError, match=f"--out: {name} cannot be written; name a file that ends in .mp4"
        ):
            Place(tmp_path / name, [open_source(path)])


class TestExtras:
    def test_many_channels(self, tmp_path):
        """What an encoder takes of them, or stereo."""
        path, layouts = tmp_path / "a.mkv", ("5.1", "5.1(side)", "quad", "mono")
        with av.open(str(path), "w") as file:
            video = file.add_stream("libx264", rate=25)
            video.width, video.height = 96, 64
            voices = [file.add_stream("pcm_s16le", rate=48000) for _ in layouts]
            for voice, layout in zip(voices, layouts):
                voice.codec_context.layout = layout
            for index, picture in enumerate(clips.moving(25)):
                frame = av.VideoFrame.from_ndarray(picture)
                frame.pts = index
                file.mux(video.encode(frame))
            file.mux(video.encode(None))
            for voice, layout in zip(voices, layouts):
                count = av.AudioLayout(layout).nb_channels
                sound = av.AudioFrame.from_ndarray(np.ones((1, 48000 * count), np.int16), "s16", layout)
                sound.sample_rate, sound.pts = 48000, 0
                file.mux(voice.encode(sound))
                file.mux(voice.encode(None))
        for ending in (".mp4", ".webm", ".avi"):
            said = rewritten(path, tmp_path / f"b{ending}", tmp_path)
            assert "kept: 4 x sound" in said
            with av.open(str(tmp_path / f"b{ending}")) as file:
                channels = [stream.codec_context.layout.nb_channels for stream in file.streams.audio]
            assert channels[3] == 1 and (channels[0] == 6 or ending == ".avi") and min(channels[:3]) >= 2

    def test_entries_of_a_phone(self, tmp_path):
        entries = {
            "com.apple.quicktime.make": "Apple",
            "com.apple.quicktime.creationdate": "2021-05-05T10:11:12+0200",
            "creation_time": "2021-05-05T08:11:12.000000Z",
        }
        container = {"movflags": "use_metadata_tags"}
        path = clips.make(tmp_path / "a.mov", clips.moving(6), metadata=entries, container=container)
        for ending in (".mp4", ".mov"):
            said = rewritten(path, tmp_path / f"b{ending}", tmp_path)
            assert not any(line.startswith("not kept") for line in said), said
            with av.open(str(tmp_path / f"b{ending}")) as file:
                assert entries.items() <= dict(file.metadata).items()

    def test_chapters_of_mp4_are_no_lost_stream(self, tmp_path):
        chapters = [(0, 0.2, "one"), (0.2, 0.4, "two")]
        path = clips.make(tmp_path / "a.mp4", clips.moving(10), chapters=chapters)
        assert rewritten(path, tmp_path / "b.mp4", tmp_path) == ["kept: 2 chapters"]
