"""Weights as people have them: wrappers in any nesting, averaged ones, safetensors, and what is none."""

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from common.checkpoints import load_into, load_state
from common.errors import UserError
from common.formats.weights_keys import bare, fitted


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Conv2d(4, 3, 1)))


class Holder(nn.Module):
    """A network whose own keys begin with `model.`."""

    def __init__(self) -> None:
        super().__init__()
        self.model = network()
        self.register_buffer("betas", torch.ones(3))


def loads(stored: object, path: Path, own: nn.Module | None = None) -> None:
    """The file loads, with the values of `network` or `Holder` in their places."""
    torch.save(stored, path)
    fresh, own = (own or network()), own or network()
    wanted = {key: tensor.clone() for key, tensor in own.state_dict().items()}
    for tensor in fresh.state_dict().values():
        tensor.zero_()
    load_into(fresh, path)
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in fresh.state_dict().items())


PREFIXES = [
    "_orig_mod.",
    "module.",
    "net.",
    "model.",
    "generator.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "model.net.",
    "module.generator._orig_mod.",
    "net.module.model.",
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_in_any_nesting(tmp_path, prefix):
    stored = {f"{prefix}{key}": tensor for key, tensor in network().state_dict().items()}
    loads(stored, tmp_path / "a.pth")
    loads({"state_dict": stored, "epoch": 3}, tmp_path / "b.pth")


@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module.", "net.model."])
@pytest.mark.parametrize("inner", ["", "_orig_mod.", "module.", "module._orig_mod."])
def test_a_network_whose_own_keys_have_a_prefix(tmp_path, prefix, inner):
    stored = {
        f"{prefix}{key.replace('model.', f'model.{inner}', 1)}": tensor
        for key, tensor in Holder().state_dict().items()
    }
    loads(stored, tmp_path / "a.pth", Holder())


@pytest.mark.parametrize(
    "layout",
    [
        lambda state: {"params_ema": state, "params": {key: 0 * tensor for key, tensor in state.items()}},
        lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}}},
        lambda state: {"ema": state, "model": {key: 0 * tensor for key, tensor in state.items()}},
        lambda state: {
            "n_averaged": torch.tensor(7),
            **{f"module.{key}": value for key, value in state.items()},
        },
        lambda state: {
            "state_dict": state,
            "best": np.float64(31.5),
            "epoch": np.int64(7),
            "name": np.str_("x"),
        },
        lambda state: {"state_dict": state, "curve": np.arange(3.0), "flag": np.bool_(True)},
        lambda state: {"ema": {"module": state}, "epoch": 3},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {"generator": state, "discriminator": {"a": torch.ones(2)}},
    ],
)
def test_where_weights_lie(tmp_path, layout):
    loads(layout(network().state_dict()), tmp_path / "a.pth")


def test_what_does_not_fit_keeps_its_names(tmp_path):
    stored = {f"net.{key}": tensor for key, tensor in network().state_dict().items()}
    stored["net.more"] = torch.ones(1)
    torch.save(stored, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"unexpected 10 \(net.0.weight"):
        load_into(network(), tmp_path / "a.pth")
    own = ["recons.module.a", "recons.a"]
    clash = {f"net.{key}": torch.ones(1) for key in own}
    assert fitted(clash, own) is clash
    assert list(bare({"net.model.a": torch.ones(1), "net.model.b": torch.ones(1)})) == ["a", "b"]
    assert list(bare({"net.a": torch.ones(1), "b": torch.ones(1)})) == ["net.a", "b"]


def safetensors(path: Path, state: dict[str, torch.Tensor], change=lambda header: header) -> Path:
    """The format as its description says: length of the header, header, data."""
    names = {torch.float32: "F32", torch.int64: "I64", torch.float16: "F16", torch.bfloat16: "BF16"}
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for key, tensor in state.items():
        content = (
            tensor.contiguous().view(torch.uint8).numpy().tobytes()
            if tensor.ndim
            else (tensor.reshape(1).view(torch.uint8).numpy().tobytes())
        )
        header[key] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    text = json.dumps(change(header)).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


class TestSafetensors:
    def test_it_loads(self, tmp_path):
        state = {f"module.{key}": tensor for key, tensor in network().state_dict().items()}
        path = safetensors(tmp_path / "a.safetensors", state)
        read = load_state(path)
        assert all(torch.equal(read[key.removeprefix("module.")], tensor) for key, tensor in state.items())
        load_into(network(), path)
        half = {"a": torch.ones(2, 3, dtype=torch.bfloat16), "b": torch.ones(2, dtype=torch.float16)}
        read = load_state(safetensors(tmp_path / "b.pth", half))
        assert all(
            torch.equal(read[key], tensor) and read[key].dtype == tensor.dtype for key, tensor in half.items()
        )

    @pytest.mark.parametrize(
        "change",
        [
            lambda header: header | {"a": header["a"] | {"data_offsets": [0, 10**12]}},
            lambda header: header | {"a": header["a"] | {"data_offsets": [8, 0]}},
            lambda header: header | {"a": header["a"] | {"shape": [10**9, 10**9]}},
            lambda header: header | {"a": header["a"] | {"shape": [-1, -2]}},
            lambda header: header | {"a": header["a"] | {"dtype": "F8"}},
            lambda header: header | {"a": 3},
            lambda header: [1, 2],
        ],
    )
    def test_a_wrong_header_is_refused(self, tmp_path, change):
        path = safetensors(tmp_path / "a.safetensors", {"a": torch.ones(2)}, change)
        with pytest.raises(UserError) as error:
            load_state(path)
        assert "damaged, or not a PyTorch checkpoint" in str(error.value) and "\n" not in str(error.value)

    def test_a_cut_off_file(self, tmp_path):
        path = safetensors(tmp_path / "a.safetensors", {"a": torch.ones(200)})
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(UserError, match="a lies outside of the file"):
            load_state(path)


def test_what_is_no_checkpoint_is_named(tmp_path):
    torch.save(network().state_dict(), tmp_path / "net.pth")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.write(tmp_path / "net.pth", "net.pth")
    with tarfile.open(tmp_path / "tar.pth", "w") as archive:
        archive.add(tmp_path / "net.pth", "net.pth")
    with tarfile.open(tmp_path / "tgz.pth", "w:gz") as archive:
        archive.add(tmp_path / "net.pth", "net.pth")
    (tmp_path / "html.pth").write_text(
        "\n<!DOCTYPE html>\n<html><head><title>Google Drive</title></head></html>"
    )
    (tmp_path / "lfs.pth").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    )
    for name, words in (
        ("zip", "a ZIP archive with net.pth; unpack it"),
        ("tar", "a real tar archive with net.pth; unpack it"),
        ("tgz", "a gzip archive; unpack it"),
        ("html", "a web page, not the file it links to"),
        ("lfs", "a Git LFS pointer; fetch the file itself with git lfs pull"),
    ):
        with pytest.raises(UserError) as error:
            load_state(tmp_path / f"{name}.pth")
        assert words in str(error.value) and "\n" not in str(error.value), error.value


def test_check_weights_looks_at_every_file(tmp_path):
    (tmp_path / "first.pth").write_text("<html></html>")
    good = tiny.ROOT / "assets" / "weights"
    named = sorted(good.rglob("*.pth"))[:1]
    done = subprocess.run(
        [sys.executable, "scripts/check_weights.py", tmp_path / "first.pth", tmp_path / "absent.pth", *named],
        cwd=tiny.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    assert (
        "a web page" in lines[0] and "absent.pth: cannot be read" in lines[1] and "loads strictly" in lines[2]
    )
    assert "first.pth" in done.stderr and "absent.pth" in done.stderr
