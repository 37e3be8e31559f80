"""Checkpoint files: published layouts are read, hostile and damaged files refused, training goes on."""

import argparse
import builtins
import io
import json
import os
import pickle
import random
import re
import shutil
import tarfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import vectors
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from common.checkpoints import (
    load_checkpoint,
    load_into,
    load_state,
    load_state_into,
    save_checkpoint,
    sha256,
)
from common.errors import UserError
from common.runtime.files import atomic_write, read_json, write_json, write_text

ADDITIONAL = {"epoch": 3, "register_dict": {"train": {"loss": [0.5, 0.25]}}}


def _keys(network: str) -> list[str]:
    entries = vectors.manifest(network)["state_dict"]
    return list(entries["plus"] if network == "shift_net" else entries)


def _weights(keys: list[str], prefix: str = "") -> OrderedDict[str, torch.Tensor]:
    """Entries that can be told apart: the value is the place in the list."""
    return OrderedDict((prefix + key, torch.full((2,), float(place))) for place, key in enumerate(keys))


def _arguments() -> argparse.Namespace:
    return argparse.Namespace(device=torch.device("cuda"), channel_mults=(1, 2, 3), beta_1=1e-6, resume=None)


def _optimizer_state() -> dict:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def _scheduler_state() -> dict:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    return CosineAnnealingLR(optimizer, 10).state_dict()


def _authors(name: str, weights: dict) -> dict:
    return {
        **ADDITIONAL,
        "model": name,
        "state_dict": weights,
        "optimizer": _optimizer_state(),
        "scheduler": _scheduler_state(),
    }


def _adaptation(weights: dict) -> dict:
    return {
        "epoch": 5,
        "model_state": weights,
        "optimizer_state": _optimizer_state(),
        "scheduler_state": _scheduler_state(),
        "best_panr": 29.4,
        "args": _arguments(),
    }


LAYOUTS = {
    "bme_bare": ("bme", lambda keys: _weights(keys)),
    "dstnet_params": ("dstnet", lambda keys: {"params": _weights(keys)}),
    "dstnet_params_wrapped": ("dstnet", lambda keys: {"params": _weights(keys, "module.")}),
    "shift_net_params": ("shift_net", lambda keys: {"params": _weights(keys)}),
    "mmp_rnn_authors": ("mmp_rnn", lambda keys: _authors("MMPRNN", _weights(keys, "module.model."))),
    "estrnn_authors": ("estrnn", lambda keys: _authors("ESTRNN", _weights(keys, "module.model."))),
    "estrnn_adapted_last": ("estrnn", lambda keys: _adaptation(_weights(keys))),
    "estrnn_adapted_best": ("estrnn", lambda keys: {"model_state": _weights(keys), "args": _arguments()}),
    "estrnn_under_model": ("estrnn", lambda keys: {"model": _weights(keys)}),
    "estrnn_module_only": ("estrnn", lambda keys: {"state_dict": _weights(keys, "module.")}),
    "estrnn_model_module": ("estrnn", lambda keys: {"state_dict": _weights(keys, "model.module.")}),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_layouts(tmp_path, layout, zipped):
    network, build = LAYOUTS[layout]
    keys = _keys(network)
    torch.save(build(keys), tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    state = load_state(tmp_path / "net.pth")
    assert list(state) == keys
    assert [int(tensor[0]) for tensor in state.values()] == list(range(len(keys)))


@pytest.mark.parametrize("size", ["large", "small"])
def test_raft_layout(tmp_path, size):
    keys = list(vectors.manifest("raft")[size]["princeton"])
    torch.save(_weights(keys, "module."), tmp_path / "raft-things.pth")
    assert list(load_state(tmp_path / "raft-things.pth")) == keys


@pytest.mark.parametrize("outer", ["", "module."], ids=["published", "wrapped_again"])
def test_id_blau_layout(tmp_path, outer):
    published = list(vectors.manifest("id_blau")["checkpoint_state_dict"])
    torch.save(_adaptation(_weights(published, outer)) | {"scheduler_state": None}, tmp_path / "ID_Blau.pth")
    state = load_state(tmp_path / "ID_Blau.pth")
    assert list(state)[:8] == published[:8]
    assert list(state)[8:] == ["model." + key for key in _keys("id_blau")]
    assert [int(tensor[0]) for tensor in state.values()] == list(range(148))


def test_diffusion_keys_without_wrapper_stay(tmp_path):
    keys = ["sqrt_alphas_cumprod", "model.init_conv.weight", "model.module.weight"]
    torch.save(_weights(keys), tmp_path / "net.pth")
    assert list(load_state(tmp_path / "net.pth")) == keys


@pytest.mark.parametrize(
    "keys",
    [
        ["model.0.weight", "model.0.bias"],
        ["module.a.weight", "b.weight"],
        ["recons.module.model.0.weight", "recons.model.0.weight"],
        ["model.module.a", "model.b"],
    ],
)
def test_keys_that_belong_to_the_network_stay(tmp_path, keys):
    torch.save(_weights(keys), tmp_path / "net.pth")
    assert list(load_state(tmp_path / "net.pth")) == keys


@pytest.mark.parametrize("prefix", ["module.", "module.model.", "model.module."])
def test_only_one_prefix_is_removed(tmp_path, prefix):
    torch.save(_weights([prefix + "module.weight"]), tmp_path / "net.pth")
    assert list(load_state(tmp_path / "net.pth")) == ["module.weight"]


class _Call:
    """Pickles into a call of `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _calls(marker: Path) -> dict[str, _Call]:
    code = f"open({str(marker)!r}, 'w').close()"
    return {
        "system": _Call(os.system, f"touch {marker}"),
        "exec": _Call(builtins.exec, code),
        "eval": _Call(builtins.eval, code),
        "open": _Call(io.open, str(marker), "w"),
        "remove": _Call(shutil.rmtree, str(marker.parent / "victim")),
    }


def _place(call: _Call, where: str) -> object:
    weights = {"weight": torch.ones(1)}
    arguments = argparse.Namespace(device=torch.device("cpu"), extra=[call])
    return {
        "alone": call,
        "beside": {"model_state": weights, "hook": call},
        "inside": {"model_state": weights | {"bias": call}},
        "namespace": {"model_state": weights, "args": arguments},
    }[where]


def _one_line(error: pytest.ExceptionInfo, *words: str) -> None:
    message = str(error.value)
    assert "\n" not in message and "\x1b" not in message
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("written", ["zip", "legacy", "pickle2", "pickle5"])
@pytest.mark.parametrize("where", ["alone", "beside", "inside", "namespace"])
@pytest.mark.parametrize("name", ["system", "exec", "eval", "open", "remove"])
def test_hostile_files_are_refused_and_not_run(tmp_path, capfd, recwarn, name, where, written):
    marker, victim, path = tmp_path / "marker", tmp_path / "victim", tmp_path / "net.pth"
    victim.mkdir()
    content = _place(_calls(marker)[name], where)
    if written.startswith("pickle"):
        path.write_bytes(pickle.dumps(content, protocol=int(written[-1])))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=written == "zip")
    for load in (load_state, load_checkpoint):
        with pytest.raises(UserError) as error:
            load(path)
        _one_line(error, str(path))
        if written in ("zip", "legacy"):
            _one_line(error, "refused")
    assert victim.exists() and not marker.exists()
    assert not recwarn.list and capfd.readouterr() == ("", "")


def test_the_hostile_files_are_hostile(tmp_path):
    """The counterpart of the test above: unrestricted unpickling does run them."""
    marker = tmp_path / "marker"
    for name in ("system", "exec", "eval"):
        torch.save(_place(_calls(marker)[name], "namespace"), tmp_path / "net.pth")
        torch.load(tmp_path / "net.pth", weights_only=False)
        assert marker.exists()
        marker.unlink()


def test_whole_pickled_network_is_refused(tmp_path):
    torch.save({"model": nn.Linear(1, 1)}, tmp_path / "net.pth")
    with pytest.raises(UserError) as error:
        load_state(tmp_path / "net.pth")
    _one_line(error, str(tmp_path / "net.pth"), "torch.nn.modules.linear.Linear")


def test_the_allowed_classes_are_not_left_allowed(tmp_path):
    torch.save({"model_state": _weights(["a"]), "args": _arguments()}, tmp_path / "net.pth")
    load_state(tmp_path / "net.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "net.pth", weights_only=True)


OTHER_CONTENT = {
    "empty": b"",
    "text": b"404: Not Found\n",
    "html": b"<!DOCTYPE html>\n<html></html>",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "zeros": bytes(4096),
}


def _damaged(path: Path, kind: str) -> None:
    weights = {"model_state": _weights(["weight", "bias"])}
    torch.save(weights, path, _use_new_zipfile_serialization="legacy" not in kind)
    whole = path.read_bytes()
    if kind.startswith("half"):
        path.write_bytes(whole[: len(whole) // 2])
    elif kind.startswith("end_missing"):
        path.write_bytes(whole[:-3])
    elif kind == "flipped":
        place = whole.index(b"data.pkl") + 80
        flipped = bytes(255 - byte for byte in whole[place : place + 200])
        path.write_bytes(whole[:place] + flipped + whole[place + 200 :])
    else:
        path.write_bytes(OTHER_CONTENT[kind])


@pytest.mark.parametrize(
    "kind", ["half", "half_legacy", "end_missing", "end_missing_legacy", "flipped", *OTHER_CONTENT]
)
def test_damaged_files(tmp_path, recwarn, kind):
    path = tmp_path / "net.pth"
    _damaged(path, kind)
    for load in (load_state, load_checkpoint):
        with pytest.raises(UserError) as error:
            load(path)
        _one_line(error, str(path), "empty" if kind == "empty" else "damaged, or not a PyTorch checkpoint")
    assert not recwarn.list


def test_other_files(tmp_path):
    with tarfile.open(tmp_path / "net.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    for name, word in (("net.tar", "tar archive"), ("absent.pth", "No such file"), (".", "directory")):
        with pytest.raises(UserError) as error:
            load_state(tmp_path / name)
        _one_line(error, str(tmp_path / name), word)


@pytest.mark.parametrize(
    "content",
    [
        {},
        [1, 2],
        torch.ones(2),
        {"epoch": 1},
        {"model": "ESTRNN"},
        {"model_state": {}},
        {"state_dict": {"a": 1.0}},
        {"model_state": {"a": torch.empty(2, device="meta")}},
    ],
)
def test_files_without_weights(tmp_path, content):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(UserError) as error:
        load_state(tmp_path / "net.pth")
    _one_line(error, str(tmp_path / "net.pth"), "no weights")
    with pytest.raises(UserError) as error:
        load_checkpoint(tmp_path / "net.pth")
    _one_line(error, str(tmp_path / "net.pth"), "model_state")


def _network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3, bias=False))


def test_other_networks_file_names_the_keys(tmp_path):
    state = _network().state_dict()
    state["2.weight"] = torch.zeros(3, 8, 3, 3)
    for key in ("0.bias", "1.weight", "1.bias", "1.running_var"):
        state["other." + key] = state.pop(key)
    torch.save(state, tmp_path / "net.pth")
    network = _network()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(UserError) as error:
        load_into(network, tmp_path / "net.pth")
    _one_line(
        error,
        str(tmp_path / "net.pth"),
        "missing 4 (0.bias, 1.weight, 1.bias, ...)",
        "unexpected 4 (other.0.bias, other.1.weight, other.1.bias, ...)",
        "wrongly shaped 1 (2.weight 3x8x3x3 instead of 3x4x3x3)",
    )
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(value):
    state = _network().state_dict()
    state["1.running_mean"][2] = value
    network = _network()
    before = network[0].weight.clone()
    with pytest.raises(UserError) as error:
        load_state_into(network, state, "net.pth")
    _one_line(error, "net.pth", "1.running_mean")
    assert torch.equal(before, network[0].weight)


def test_values_too_large_for_the_network_are_refused():
    state = {"weight": torch.full((1, 1), 1e6), "bias": torch.zeros(1)}
    with pytest.raises(UserError, match="weight"):
        load_state_into(nn.Linear(1, 1).half(), state, "net.pth")


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_load_into_float32(tmp_path, precision):
    stored = {
        key: value.to(precision) if value.is_floating_point() else value
        for key, value in _network().state_dict().items()
    }
    torch.save({"params": stored}, tmp_path / "net.pth")
    assert load_state(tmp_path / "net.pth")["0.weight"].dtype == precision
    network = _network()
    load_into(network, tmp_path / "net.pth")
    for key, value in network.state_dict().items():
        assert value.dtype == (torch.int64 if key.endswith("tracked") else torch.float32)
        assert torch.equal(value, stored[key].to(value.dtype))


def _random_state() -> dict:
    version, internal, gauss = random.getstate()
    name, words, *rest = np.random.get_state()
    return {
        "python": [version, list(internal), gauss],
        "numpy": [name, words.tolist(), *rest],
        "torch": torch.get_rng_state(),
    }


def _draws() -> list[float]:
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item()]


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, scheduler: LRScheduler) -> None:
    optimizer.zero_grad()
    network(torch.rand(2, 3, 8, 8)).square().mean().backward()
    optimizer.step()
    scheduler.step()


def _trainer() -> tuple[nn.Module, torch.optim.Optimizer, LRScheduler]:
    network = _network()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    return network, optimizer, CosineAnnealingLR(optimizer, 10)


def test_training_goes_on_as_if_never_stopped(tmp_path):
    torch.manual_seed(0)
    parts = network, optimizer, scheduler = _trainer()
    random.gauss(0, 1), np.random.randn()
    for _ in range(3):
        _step(*parts)
    path = tmp_path / "new" / "folder" / "last.pth"
    architecture = {"name": "ESTRNN", "n_features": 16, "widths": (1, 2)}
    save_checkpoint(
        {
            "model_state": network.state_dict(),
            "optimizer_state": optimizer.state_dict(),
            "scheduler_state": scheduler.state_dict(),
            "epoch": 1,
            "step": 3,
            "best": None,
            "random": _random_state(),
            "architecture": architecture,
        },
        path,
    )
    assert os.listdir(path.parent) == ["last.pth"]
    for _ in range(2):
        _step(*parts)
    draws = _draws()

    stored = load_checkpoint(path)
    assert (stored["epoch"], stored["step"], stored["best"]) == (1, 3, None)
    assert stored["architecture"] == architecture
    parts = resumed, optimizer, scheduler = _trainer()
    load_state_into(resumed, stored["model_state"], str(path))
    optimizer.load_state_dict(stored["optimizer_state"])
    scheduler.load_state_dict(stored["scheduler_state"])
    version, internal, gauss = stored["random"]["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(tuple(stored["random"]["numpy"]))
    torch.set_rng_state(stored["random"]["torch"])
    for _ in range(2):
        _step(*parts)
    assert _draws() == draws
    for key, value in network.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


@pytest.mark.parametrize("value", [np.float64(29.4), np.zeros(2), Path("weights"), {1, 2}, nn.Linear(1, 1)])
def test_a_payload_that_could_not_be_read_back_is_not_written(tmp_path, value):
    with pytest.raises(TypeError, match=re.escape("payload.figures.0")):
        save_checkpoint({"model_state": {"a": torch.ones(1)}, "figures": [value]}, tmp_path / "last.pth")
    assert not os.listdir(tmp_path)


def test_failing_write_keeps_the_former_file(tmp_path, monkeypatch):
    path = tmp_path / "last.pth"
    save_checkpoint({"model_state": {"a": torch.ones(1)}}, path)
    former = path.read_bytes()

    def fail(payload, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint({"model_state": {"a": torch.zeros(1)}}, path)
    assert path.read_bytes() == former and os.listdir(tmp_path) == ["last.pth"]


def test_atomic_write(tmp_path):
    path = tmp_path / "new" / "frame.png"
    with atomic_write(path) as first, atomic_write(path) as second:
        assert first != second and first.parent == path.parent
        assert first.name.startswith(".") and str(os.getpid()) in first.name and first.suffix == ".png"
        first.write_bytes(b"1")
        second.write_bytes(b"2")
        assert not path.exists()
    assert path.read_bytes() == b"1" and os.listdir(path.parent) == ["frame.png"]
    with pytest.raises(OSError):
        with atomic_write(path):
            pass
    assert path.read_bytes() == b"1"
    with pytest.raises(UserError) as error:
        with atomic_write(path / "below" / "a.txt"):
            pass
    _one_line(error, str(path / "below"))


def test_text_and_json(tmp_path):
    write_text(tmp_path / "a.txt", "größe\n")
    assert (tmp_path / "a.txt").read_bytes() == "größe\n".encode()
    data = {"z": [1, {"path": "ü.png"}], "a": None}
    write_json(tmp_path / "a.json", data)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    assert text.index('"z"') < text.index('"a"')
    assert read_json(tmp_path / "a.json") == data


@pytest.mark.parametrize("content", [b"", b"{'a': 1}", b'{"a": 1', b"\xff\xfe{}", b"[" * 100_000])
def test_invalid_json(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_json(path)
    _one_line(error, str(path), "not valid JSON")


def test_missing_json_and_sha256(tmp_path):
    for function in (read_json, sha256):
        with pytest.raises(UserError) as error:
            function(tmp_path / "absent")
        _one_line(error, str(tmp_path / "absent"), "No such file")
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    "content",
    [{"weight": torch.eye(3).to_sparse()}, {"model_state": {"weight": torch.eye(3)}, "step": "three"}],
)
def test_sparse_weights_and_steps_that_are_no_number_are_refused(tmp_path, content):
    path = tmp_path / "strange.pth"
    torch.save(content, path)
    with pytest.raises(UserError) as caught:
        load_checkpoint(path) if "step" in content else load_state(path)
    assert "strange.pth" in str(caught.value) and "\n" not in str(caught.value)
