"""common/layout.py: the names of files and folders that people and other programs rely on, in one place."""

import ast
from pathlib import Path

import pytest
import tiny

from common import layout
from common.layout import Layout, borrowed_file, restored_file
from common.videos import Video

CODE = ("RSDM", "DBCGM", "BlurringModel", "DeblurringModel", "common", "scripts")
OUT = Layout(Path("out"))
FRAME = "walk", "0007"
FILES = {
    layout.SETTINGS,
    layout.RUN,
    layout.LAST,
    layout.BEST,
    layout.LOG,
    "sharp_regions.json",
    "metrics.json",
    "comparison.png",
    "times.json",
    "inputs.json",
    "report.html",
    "clip.json",
    "result.json",
}
FOLDERS = {
    *("rsdm", "magnitude", "score", "mask"),
    *("dbcgm", "condition", "motion", "preview", "shutter"),
    *("blurring", "ori", "flow"),
    *("deblurring", *layout.VARIANTS, layout.REHEARSAL, layout.PICTURE, layout.WEIGHT, layout.SOURCE),
}


@pytest.mark.parametrize(
    ("path", "documented"),
    [
        (OUT.sharp_regions, "out/rsdm/sharp_regions.json"),
        (OUT.magnitude(*FRAME), "out/rsdm/magnitude/walk/0007.npy"),
        (OUT.score(*FRAME), "out/rsdm/score/walk/0007.npy"),
        (OUT.mask(*FRAME), "out/rsdm/mask/walk/0007.png"),
        (OUT.condition(*FRAME), "out/dbcgm/condition/walk/0007.npy"),
        (OUT.motion(*FRAME), "out/dbcgm/motion/walk/0007.npy"),
        (OUT.preview(*FRAME), "out/dbcgm/preview/walk/0007.png"),
        (OUT.shutter("walk"), "out/dbcgm/shutter/walk.json"),
        (OUT.original(*FRAME), "out/blurring/walk/ori/0007.png"),
        (OUT.reblurred(*FRAME), "out/blurring/walk/reblur/0007.png"),
        (OUT.blurred_with(*FRAME), "out/blurring/walk/flow/0007.png"),
        (OUT.target(*FRAME), "out/blurring/walk/target/0007.png"),
        (OUT.window_picture(*FRAME, 1, 4), "out/blurring/walk/window/0007/1/4.png"),
        (OUT.network("ESTRNN").weights, "out/deblurring/ESTRNN/weights"),
        (OUT.network("my/net.py:Net").metrics, "out/deblurring/Net/metrics.json"),
        (OUT.times, "out/times.json"),
    ],
)
def test_files_lie_where_the_readme_says(path, documented):
    assert path == Path(documented)


def test_a_borrowed_picture_lies_one_folder_deeper_than_a_restored_one():
    video, network = Video("walk", (Path("0007.jpg"),), ()), OUT.network("ESTRNN")
    assert restored_file(network.variant("fused"), video, 0) == network.folder / "fused/walk/0007.png"
    aligned = network.variant("aligned")
    assert restored_file(aligned, video, 0) == network.folder / "aligned/walk/picture/0007.png"
    assert borrowed_file(aligned, "weight", *FRAME) == network.folder / "aligned/walk/weight/0007.png"


def test_no_other_module_spells_these_names():
    spelled = []
    for path in (path for part in CODE for path in (tiny.ROOT / part).rglob("*.py")):
        if path == Path(layout.__file__):
            continue
        name = str(path.relative_to(tiny.ROOT))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in FILES:
                spelled.append((name, node.lineno, node.value))
            # A folder's name may be an ordinary word elsewhere, but not as a part of a path.
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                part = node.right
                if isinstance(part, ast.Constant) and part.value in FOLDERS:
                    spelled.append((name, part.lineno, part.value))
    assert spelled == []
