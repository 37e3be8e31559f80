"""scripts/plot_training.py: validation curves of trainings as a picture."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from common.errors import UserError
from scripts import plot_training

HEAD = "step,loss,learning_rate,psnr\n"


def log(path: Path, rows: str) -> Path:
    path.write_text(HEAD + rows)
    return path


def test_rounds_follow_each_other(tmp_path: Path) -> None:
    first = log(tmp_path / "1.csv", "100,1,1,26.0\n200,1,1,26.5\n")
    second = log(tmp_path / "2.csv", "50,1,1,27.0\n")
    assert plot_training.joined([first, second], "psnr") == [(100, 26.0), (200, 26.5), (250, 27.0)]


def test_the_picture_holds_a_curve_and_a_name_for_each(tmp_path, monkeypatch, capsys) -> None:
    a, b = log(tmp_path / "a.csv", "100,1,1,26.0\n200,1,1,26.5\n"), log(tmp_path / "b.csv", "100,1,1,25\n")
    out = tmp_path / "curve.svg"
    monkeypatch.setattr("sys.argv", ["plot_training.py", f"A & B={a}", f"C={b}", "--out", str(out)])
    plot_training.main()
    root = ET.fromstring(out.read_text())
    spelled = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert "A & B" in spelled and "C" in spelled and "step" in spelled and "psnr" in spelled
    curves = [element for element in root.iter() if element.tag.endswith("polyline")]
    assert [len(curve.get("points").split()) for curve in curves] == [2, 1]
    assert "curves of 2 networks" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "cannot be read"),
        ("psnr\n1\n", "not laid out as the stages write it"),
        (HEAD, "holds no values of psnr"),
        (HEAD + "1,1,1,x\n", "not the log of a training"),
        ("step,loss\n1,2\n", "holds no values of psnr"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "log.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=words):
        plot_training.column_of(path, "psnr")


def test_a_curve_needs_a_name(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["plot_training.py", "log.csv", "--out", str(tmp_path / "x.svg")])
    with pytest.raises(UserError, match="expected NAME=LOG"):
        plot_training.main()
