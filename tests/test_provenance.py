"""Claiming result folders."""

import pytest

from common.errors import UserError
from common.runtime.provenance import claim_folder, differences


def test_claim_continue_refuse_overwrite(tmp_path):
    folder = tmp_path / "out"
    claim_folder(folder, {"a": 1}, None)
    (folder / "result.txt").write_text("x")
    claim_folder(folder, {"a": 1}, None)
    assert (folder / "result.txt").exists()
    with pytest.raises(UserError, match="a: 1 -> 2"):
        claim_folder(folder, {"a": 2}, None)
    assert (folder / "result.txt").exists()
    claim_folder(folder, {"a": 2}, None, overwrite=True)
    assert not (folder / "result.txt").exists()


def test_overwrite_leaves_a_folder_alone_that_holds_something_else(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("x")
    with pytest.raises(UserError, match="not emptied"):
        claim_folder(tmp_path, {"a": 1}, None, overwrite=True)
    assert (tmp_path / "letters" / "dear.txt").exists()


def test_differences_name_nested_keys():
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == [
        "a.c: 2 -> 3",
        "d: None -> 4",
    ]
