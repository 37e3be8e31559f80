"""How long each stage has worked: summed, saved while the work runs, forgotten with the results."""

import json
import time

import pytest
import tiny
from tiny import one_thread  # noqa: F401 (a fixture)

from common.errors import UserError
from common.runtime.times import counted, read_times


def test_times_are_summed_per_work_and_others_kept(tmp_path):
    for work, seconds in (("a", 0.05), ("b", 0.02), ("a", 0.05)):
        with counted(tmp_path, work):
            time.sleep(seconds)
    times = read_times(tmp_path)
    assert list(times) == ["a", "b"]
    assert 0.1 <= times["a"] < 1 and 0.02 <= times["b"] < 0.5
    with counted(tmp_path, "a", anew=True):
        pass
    assert read_times(tmp_path)["a"] < 0.1 and read_times(tmp_path)["b"] == times["b"]


def test_time_of_work_that_is_interrupted_counts(tmp_path):
    with pytest.raises(KeyboardInterrupt), counted(tmp_path, "a"):
        time.sleep(0.02)
        raise KeyboardInterrupt
    assert read_times(tmp_path)["a"] >= 0.02


def test_wrong_input_leaves_no_trace(tmp_path):
    with pytest.raises(UserError), counted(tmp_path, "a"):
        raise UserError("x")
    assert not list(tmp_path.iterdir())


def test_time_is_saved_while_the_work_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("common.runtime.times._SAVE_EVERY", 0.02)
    with counted(tmp_path, "a"):
        deadline = time.monotonic() + 20
        while not (seen := read_times(tmp_path)) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
    # What was saved in between is not counted twice.
    assert 0.02 <= seen["a"] < read_times(tmp_path)["a"] < 20


@pytest.mark.parametrize("content", ["{", "[]", '{"a": "long"}', '{"a": -1}', '{"a": NaN}'])
def test_a_damaged_record_is_named_but_stops_no_work(tmp_path, content):
    (tmp_path / "times.json").write_text(content)
    with pytest.raises(UserError, match="times.json"):
        read_times(tmp_path)
    with counted(tmp_path, "a"):
        pass
    assert list(read_times(tmp_path)) == ["a"]


def test_stages_record_their_work_once_and_anew_when_overwritten(tmp_path, monkeypatch, capsys):
    config = tiny.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    for stage in tiny.STAGES:
        tiny.run(stage, config)
        assert (
            capsys.readouterr().out.splitlines()[-1]
            == f"report: python {tiny.ROOT / 'scripts' / 'report.py'} out"
        )
    times = tmp_path / "out" / "times.json"
    first = read_times(tmp_path / "out")
    assert list(first) == [
        "stage 1, RSDM",
        "stage 2, DBCGM",
        "stage 3, ID-Blau",
        "stage 4, baseline ESTRNN",
        "stage 4, fine-tuning ESTRNN",
        "stage 4, adapted ESTRNN",
    ]
    written = times.stat().st_mtime_ns
    for stage in tiny.STAGES:
        tiny.run(stage, config)
    assert times.stat().st_mtime_ns == written
    times.write_text(json.dumps({name: 1000.0 for name in first}))
    tiny.run("DBCGM", config, "--overwrite")
    after = read_times(tmp_path / "out")
    assert after.pop("stage 2, DBCGM") < 900 and set(after.values()) == {1000.0}
