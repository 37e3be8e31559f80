"""The report: one page, self-contained, of whatever an output folder holds."""

import base64
import json
import re
import shutil
import sys
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
import yaml
from tiny import finished, one_thread  # noqa: F401, fixtures

from common.config import Config, as_dict
from common.images import read_image
from common.rendering.condition_view import condition_picture
from common.runtime import entry
from common.videos import Video
from scripts import report
from scripts.report import make_report
from scripts.reporting import before_after, curves, pictures
from scripts.reporting.markup import aside
from scripts.reporting.markup import image as image_tag

VOID = {"meta", "img", "br", "link", "input", "hr"}
SHAPES = {"line", "circle", "polyline", "rect"}
SECTIONS = ("figures", "video-0", "video-1", "training", "times", "settings")
HOSTILE = "a<b>\"&'</script><script>alert(1)</script>".replace("/", "∕")


class Page(HTMLParser):
    """Checks that tags are balanced; keeps ids, attributes of every element, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        assert tag in SHAPES
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def case(finished: Path, tmp_path: Path) -> Path:
    """A copy, with its data set recorded at the copy's place."""
    shutil.copytree(finished, tmp_path / "case")
    for path in (tmp_path / "case" / "out").rglob("config.yaml"):
        path.write_text(path.read_text().replace(str(finished), str(tmp_path / "case")))
    return tmp_path / "case"


def made(output: Path) -> tuple[str, Page]:
    html = make_report(output, output.parent / "page.html").read_text(encoding="utf-8")
    return html, Page(html)


def picture_of(uri: str) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def image(page: Page, alt: str) -> np.ndarray:
    return picture_of(next(found["src"] for found in page.all("img") if found["alt"] == alt))


def test_a_clean_target_is_shown_as_the_target(case: Path) -> None:
    _, page = made(case / "out")
    shown = page.text.count("sharp: the target")
    assert shown and "sharp, without noise: the target" not in page.text
    for original in (case / "out" / "blurring").glob("*/ori/*.png"):
        clean = original.parents[1] / "target" / original.name
        clean.parent.mkdir(exist_ok=True)
        shutil.copy(original, clean)
    assert made(case / "out")[1].text.count("sharp, without noise: the target") == shown


def test_the_page_is_whole_and_self_contained(finished: Path) -> None:
    html, page = made(finished / "out")
    assert "http:" not in html and "https:" not in html and "url(" not in html
    assert not page.all("link") and all("src" not in script for script in page.all("script"))
    assert all(found["src"].startswith("data:image/") and found["alt"] for found in page.all("img"))
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:; ") and "unsafe" not in policy
    # The policy allows no style attribute and no handler in the markup.
    assert not any(
        name == "style" or name.startswith("on") for _, attributes in page.elements for name in attributes
    )
    assert [found["id"] for found in page.all("section")] == list(SECTIONS)
    assert {link["href"] for link in page.all("a")} == {f"#{name}" for name in SECTIONS}
    for heading in (
        "Before and after",
        "Blur magnitude and chosen regions",
        "Blur direction",
        "Training pairs",
    ):
        assert page.text.count(heading) == len(tiny.VIDEOS)
    assert not [found for found in page.all("p") if found.get("class") == "missing"][
        1:
    ]  # only: no held-out pairs
    assert len([found for found in page.all("svg") if found.get("class") == "chart"]) == 3
    assert len(page.all("polyline")) == 3


def test_pictures_are_those_of_the_folders(finished: Path) -> None:
    _, page = made(finished / "out")
    layers = [
        found["alt"]
        for found in page.all("img")
        if re.match(r"frame \S+, (blurry|before|adapted|ground)", found["alt"])
    ]
    assert len(layers) == 2 * 3 * 4
    frame = layers[0].split()[1].rstrip(",")
    folder = finished / "out" / "deblurring" / "ESTRNN"
    paths = {
        "blurry input": finished / "data/a/Blur/RGB" / f"{frame}.png",
        "before adaptation": folder / "baseline/a" / f"{frame}.png",
        "adapted": folder / "adapted/a" / f"{frame}.png",
        "ground truth": finished / "data/a/Sharp/RGB" / f"{frame}.png",
    }
    for label in paths:
        shown = image(page, f"frame {frame}, {label}").astype(int)
        differences = {other: np.abs(shown - read_image(path)).mean() for other, path in paths.items()}
        # JPEG is near, and nearer than to the other pictures of the frame.
        assert differences[label] < 6 and min(differences, key=differences.get) == label
    means = {
        name: np.load(finished / "out/rsdm/magnitude/a" / f"{name}.npy").mean()
        for name in map(str, range(8, 16))
    }
    assert frame == max(means, key=means.get)


def test_figures_are_those_of_metrics_json(finished: Path) -> None:
    _, page = made(finished / "out")
    metrics = json.loads((finished / "out/deblurring/ESTRNN/metrics.json").read_text())
    for kind in ("input", "baseline", "adapted"):
        for part in (metrics[kind], *metrics[kind]["videos"].values()):
            assert f"{part['psnr']:.2f}" in page.text and f"/ {part['ssim']:.4f}" in page.text
    assert f"{metrics['adapted']['psnr'] - metrics['baseline']['psnr']:+.2f} dB" in page.text
    assert "adapted (last epoch, label-free)" in page.text


def test_settings_in_force_are_listed_and_changed_ones_stand_out(finished: Path) -> None:
    html, _ = made(finished / "out")
    assert '<th scope="row">rsdm.min_size</th><td><b>32</b></td>' in html
    assert '<th scope="row">rsdm.patches</th><td>sharp</td>' in html
    assert '<th scope="row">blurring.steps</th><td><b>3</b></td>' in html
    weights = json.loads((finished / "out/rsdm/settings.json").read_text())["rsdm"]["weights"]
    assert f"weights SHA-256 {weights}" in html


@pytest.mark.parametrize(
    "stages, missing",
    [
        (
            1,
            [
                "stage 2, DBCGM: not run",
                "stage 3, ID-Blau: not run",
                "stage 4, deblurring: not run",
                "not restored yet",
                "no blur conditions",
                "no pairs",
                "no fine-tuning",
            ],
        ),
        (2, ["stage 3, ID-Blau: not run", "stage 4, deblurring: not run", "no pairs"]),
        (3, ["stage 4, deblurring: not run", "no fine-tuning"]),
    ],
)
def test_missing_stages_are_said(case: Path, stages: int, missing: list[str]) -> None:
    for folder in ("rsdm", "dbcgm", "blurring", "deblurring")[stages:]:
        shutil.rmtree(case / "out" / folder)
    (case / "out" / "times.json").unlink()
    _, page = made(case / "out")
    for line in [*missing, "no times are recorded"]:
        assert line in page.text
    assert page.text.count(": not run") == 4 - stages


def test_only_stage_4_and_a_claimed_folder(case: Path) -> None:
    for folder in ("rsdm/magnitude", "rsdm/mask", "dbcgm", "blurring"):
        shutil.rmtree(case / "out" / folder)
    (case / "out" / "rsdm" / "sharp_regions.json").unlink()
    _, page = made(case / "out")
    assert page.text.count("no magnitude maps") == 2 and "middle frame" in page.text.lower()


def test_without_ground_truth_and_without_the_frames(case: Path) -> None:
    for video in tiny.VIDEOS:
        shutil.rmtree(case / "data" / video / "Sharp")
    (case / "out/deblurring/ESTRNN/metrics.json").unlink()
    _, page = made(case / "out")
    assert "no ground truth, so no PSNR and SSIM" in page.text and "Against ground truth" not in page.text
    shutil.rmtree(case / "data")
    _, page = made(case / "out")
    assert "input frames are not shown" in page.text and "blurry input" not in page.text
    assert any("before adaptation" in found["alt"] for found in page.all("img"))


def test_one_network_per_video_chosen_on_held_out_pairs(case: Path) -> None:
    shutil.rmtree(case / "out" / "deblurring")
    config = tiny.write_config(case, deblurring={"scope": "video", "select": "best_pairs", "epochs": 3})
    tiny.run("RSDM", config, "--overwrite", "--set", "rsdm.ratio=0.6")
    for stage in tiny.STAGES[1:]:
        tiny.run(stage, config, "--overwrite", "--set", "rsdm.ratio=0.6")
    html, page = made(case / "out")
    trained = [
        video
        for video in tiny.VIDEOS
        if (case / "out/deblurring/ESTRNN/weights" / video / "log.csv").exists()
    ]
    assert trained
    held_out = html.count("<title>PSNR on held-out pairs (label-free)</title>")
    logs = [(case / "out/deblurring/ESTRNN/weights" / video / "log.csv").read_text() for video in trained]
    assert held_out == sum("psnr_held_out" in log for log in logs) and held_out
    assert html.count("<title>best state, used</title>") >= held_out
    assert "best on held-out pairs, label-free (kept at step" in page.text


def test_a_choice_by_ground_truth_is_named_wherever_it_is_shown(case: Path) -> None:
    tiny.run("DeblurringModel", tiny.write_config(case), "--overwrite", "--set", "deblurring.select=best_gt")
    html, page = made(case / "out")
    assert (
        "PSNR against ground truth, for comparison only" in page.text
        and "<title>best state, used</title>" in html
    )
    restored = {found["alt"].partition(", ")[2] for found in page.all("img") if "adapted" in found["alt"]}
    assert restored == {"adapted (epoch chosen by ground truth)"}


def test_several_networks_share_a_viewer(case: Path) -> None:
    shutil.copytree(case / "out/deblurring/ESTRNN", case / "out/deblurring/Other")
    _, page = made(case / "out")
    labels = {
        found["alt"].partition(", ")[2] for found in page.all("img") if found["alt"].startswith("frame")
    }
    assert {"ESTRNN, before adaptation", "Other, adapted"} <= labels
    viewer = next(found for found in page.all("div") if found.get("class") == "viewer")
    assert (viewer["data-left"], viewer["data-right"]) == ("1", "2")


@pytest.mark.parametrize("window", ["all", "moved"])
def test_whole_windows_are_shown_as_pairs(case: Path, window: str) -> None:
    more = (
        "--overwrite",
        "--set",
        "dbcgm.frames=all",
        "dbcgm.motion=true",
        "dbcgm.adapt_magnitude=false",
        "rsdm.border=3",
        f"blurring.window={window}",
    )
    for stage in tiny.STAGES[:3]:
        tiny.run(stage, tiny.write_config(case), *more)
    _, page = made(case / "out")
    regions = json.loads((case / "out/rsdm/sharp_regions.json").read_text())["sharp_regions"]
    region = next(entry for entry in regions if entry["video"] == "a")
    r0, c0, r1, c1 = region["bbox"]
    for index in range(5):
        label = f"frame {region['frame']}, reblurred, {index + 1} of 5{' (middle)' if index == 2 else ''}"
        path = case / "out/blurring/a/window" / region["frame"] / "0" / f"{index}.png"
        assert np.abs(image(page, label).astype(int) - read_image(path)[r0:r1, c0:c1]).mean() < 4


def test_hostile_names_are_text(case: Path) -> None:
    (case / "data" / "b").rename(case / "data" / HOSTILE)
    shutil.rmtree(case / "out")
    config = tiny.write_config(case)
    for stage in tiny.STAGES:
        tiny.run(stage, config)
    (case / "out" / "clip.json").write_text(
        json.dumps(
            {"source": "<img src=x>.mp4", "fps": 29.97, "frames": 8, "notes": ["cut at <b>8</b> frames"]}
        )
    )
    html, page = made(case / "out")
    assert HOSTILE not in html and escape(HOSTILE) in html and HOSTILE in page.text
    assert len(page.all("script")) == 1 and "alert(1)" in page.text
    assert "<img src=x>.mp4" in page.text and "cut at <b>8</b> frames" in page.text and "29.97" in page.text


def test_alternative_texts_and_asides_are_escaped() -> None:
    page = Page(
        image_tag("data:,", (4, 5, 3), '"><script>')
        + aside("<b>")
        + curves.chart("<b>", "<b>", "<b>", [curves.Series("<b>", [(0, 1)])], [curves.Mark("<b>", (0, 1))])
    )
    assert page.all("img") == [{"src": "data:,", "width": "5", "height": "4", "alt": '"><script>'}]
    assert not page.all("script") and not page.all("b")


# What a user may do wrong


def complaint(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    monkeypatch.setattr(sys, "argv", ["report", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        entry.run(report.main)
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    lines = [line for line in lines if not line.startswith("libpng")]
    assert len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


def test_an_empty_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nothing").mkdir()
    for folder in (tmp_path / "nothing", tmp_path / "absent"):
        assert f"{folder}: holds no results" in complaint(capsys, monkeypatch, folder)
    assert not list((tmp_path / "nothing").iterdir())
    assert "name the stages' output folder" in complaint(capsys, monkeypatch)


DAMAGED = {
    "rsdm/config.yaml": b"rsdm: [",
    "rsdm/run.json": b"[]",
    "rsdm/settings.json": b"{",
    "rsdm/sharp_regions.json": b'{"sharp_regions": 3}',
    "rsdm/magnitude/a/9.npy": b"\x93NUMPY",
    "dbcgm/preview/a/*.png": b"\x89PNG",
    "blurring/a/ori/*.png": b"",
    "deblurring/ESTRNN/adapted/a/*.png": b"\x89PNG",
    "deblurring/ESTRNN/metrics.json": b'{"input": {"psnr": "high"}}',
    "deblurring/ESTRNN/weights/log.csv": b"step,loss\n1,much\n",
    "deblurring/ESTRNN/weights/last.pth": b"PK",
    "times.json": b"[]",
    "clip.json": b'{"notes": "one"}',
}


@pytest.mark.parametrize("place", DAMAGED)
def test_damaged_files_are_named(
    case: Path, place: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted((case / "out").glob(place)) or [case / "out" / place]
    for path in paths:
        path.write_bytes(DAMAGED[place])
    line = complaint(capsys, monkeypatch, case / "out")
    assert any(str(path) in line for path in paths), line
    assert not (case / "out" / "report.html").exists()


def test_command_line_takes_a_folder_or_a_configuration(
    case: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = case / "page" / "here.html"
    monkeypatch.setattr(sys, "argv", ["report", str(case / "out"), "--out", str(target)])
    report.main()
    assert capsys.readouterr().out == f"report: look at {target}\n" and target.stat().st_size > 50_000
    (case / "out").rename(case / "elsewhere")
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "report",
            "--config",
            str(case / "config.yaml"),
            "--overwrite",
            "--set",
            f"output={case / 'elsewhere'}",
        ],
    )
    report.main()
    assert (case / "elsewhere" / "report.html").exists()


# Curves and pictures


def test_curve_coordinates() -> None:
    width = curves.WIDTH - curves.LEFT - curves.RIGHT
    height = curves.HEIGHT - curves.TOP - curves.BOTTOM
    placed = curves.to_canvas([(0, 2), (10, 6), (5, 4)], (0, 10), (2, 6))
    assert placed == [
        (curves.LEFT, curves.TOP + height),
        (curves.LEFT + width, curves.TOP),
        (curves.LEFT + width / 2, curves.TOP + height / 2),
    ]
    drawn = curves.chart(
        "t",
        "x",
        "y",
        [curves.Series("one", [(0, 0.0), (4, 10.0), (8, float("nan")), (8, 5.0)])],
        [curves.Mark("here", (4, 10.0))],
    )
    points = re.search(r'<polyline class="curve c0" points="([^"]*)"', drawn)[1]
    expected = [
        (curves.LEFT, curves.TOP + height),
        (curves.LEFT + width / 2, curves.TOP),
        (curves.LEFT + width, curves.TOP + height / 2),
    ]
    assert points == " ".join(f"{x:.1f},{y:.1f}" for x, y in expected)
    assert f'<circle class="mark" cx="{expected[1][0]:.1f}" cy="{expected[1][1]:.1f}"' in drawn
    Page(drawn)
    assert curves.chart("t", "x", "y", [curves.Series("one", [(0, float("nan"))])]) == ""


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (0, 1, [0, 0.25, 0.5, 0.75, 1]),
        (0.00034, 0.00052, [0.0003, 0.00035, 0.0004, 0.00045, 0.0005, 0.00055]),
        (30.1, 31.9, [30, 30.5, 31, 31.5, 32]),
        (0, 17, [0, 5, 10, 15, 20]),
    ],
)
def test_ticks_are_round_and_include_the_data(low: float, high: float, expected: list[float]) -> None:
    assert curves.ticks(low, high) == pytest.approx(expected)


def test_curves_of_one_value_and_of_no_change_have_an_axis() -> None:
    for points in ([(3.0, 5.0)], [(0.0, 5.0), (1.0, 5.0)], [(0.0, 0.0)], [(0.0, -2.0)]):
        assert "nan" not in curves.chart("t", "x", "y", [curves.Series("one", points)])


def test_the_wheel_has_the_colours_of_the_previews() -> None:
    wheel = pictures.direction_wheel(201)
    for angle in np.arange(0, 360, 30):
        x, y = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        for radius in (0.5, 0.95):
            # A frame with this blur at one pixel, and the longest blur elsewhere.
            condition = np.array([[[x, 1.0]], [[y, 0.0]], [[7 * radius, 7.0]]], np.float32)
            expected = condition_picture(condition)[0, 0].astype(int)
            found = wheel[round(100 + 100 * radius * y), round(100 + 100 * radius * x)]
            assert found[3] == 255 and np.abs(found[:3] - expected).max() <= 8, (angle, radius)
    assert wheel[0, 0, 3] == 0


def test_boxes_are_drawn_where_they_belong() -> None:
    picture = np.full((100, 160, 3), 90, np.uint8)
    # Four times as high and twice as wide: rows 80 to 240 and columns 60 to 200 become 20 to 60 and 30 to
    # 100.
    drawn = pictures.with_boxes(picture, [(80, 60, 240, 200)], (400, 320)).astype(int)
    assert (drawn[20:60, 30] == 255).all() and (drawn[20:60, 99] == 255).all()
    assert (drawn[20, 30:100] == 255).all() and (drawn[59, 30:100] == 255).all()
    assert (drawn[23:57, 33:97] == 90).all()
    outside = np.ones((100, 160), bool)
    outside[19:61, 29:101] = False
    assert (drawn[outside] == 90).all() and (picture == 90).all()


def test_boxes_on_the_page_enclose_the_chosen_regions(finished: Path) -> None:
    _, page = made(finished / "out")
    regions = json.loads((finished / "out/rsdm/sharp_regions.json").read_text())["sharp_regions"]
    shown = [found["alt"] for found in page.all("img") if found["alt"].endswith("chosen regions")]
    by_frame: dict[str, list] = {}
    for region in regions:
        if region["video"] == "a":
            by_frame.setdefault(region["frame"], []).append(region["bbox"])
    frame, boxes = min(
        by_frame.items(), key=lambda item: np.load(finished / f"out/rsdm/magnitude/a/{item[0]}.npy").mean()
    )
    label = f"blur magnitude of frame {frame} with {len(boxes)} chosen regions"
    assert label == shown[0]
    white = image(page, label).min(axis=2) > 180
    rows, columns = np.nonzero(white)
    extent = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    sides = list(zip(*boxes))
    assert (
        np.abs(np.subtract(extent, [min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])])).max() <= 1
    )


def test_the_detail_lies_where_blur_is_long_and_there_is_something_to_see() -> None:
    picture, magnitude = np.full((90, 120, 3), 128, np.uint8), np.ones((90, 120), np.float32)
    picture[50:80:2, 70:100] = 255
    picture[5:35:2, 5:35] = 255
    magnitude[:, 60:] = 10
    top, left, bottom, right = pictures.telling_place(magnitude, picture, 32)
    assert (bottom - top, right - left) == (32, 32) and 46 <= top <= 52 and 66 <= left <= 72
    assert pictures.telling_place(magnitude[:20], picture[:20], 32)[2] == 20


def test_magnitude_colours_agree_with_their_bar() -> None:
    bar = pictures.colour_bar(4, 256)[0]
    colours = pictures.magnitude_colours(np.array([[0.0, 5.0, 10.0, 99.0, -1.0]]), 10.0)[0]
    assert np.array_equal(colours, bar[[0, 128, 255, 255, 0]])
    assert [pictures.round_up(value) for value in (0, 0.7, 1.2, 14.1, 205)] == [1, 0.8, 1.5, 15, 300]


def test_the_default_configuration_is_what_settings_are_compared_with() -> None:
    stored = yaml.safe_load((tiny.ROOT / "configs" / "default.yaml").read_text())
    assert as_dict(Config()) == stored


def test_frames_with_all_results_are_shown(monkeypatch):
    ways = {0: 1, 1: 2, 2: 1, 3: 2, 4: 2}
    video = Video("a", tuple(Path(f"{index}.png") for index in range(5)), ())
    monkeypatch.setattr(
        before_after, "_restored", lambda results, video, position: iter([("", Path())] * ways[position])
    )
    means = {position: float(position) for position in range(5)}
    assert before_after.frames_to_show(None, video, means, 3) == {4: "blurriest", 3: "median", 1: "sharpest"}
