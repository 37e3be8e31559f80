"""bf16 only where the device computes in it."""

from dataclasses import replace

import pytest
import torch

from common.config import Config, RuntimeConfig, TrainConfig, TrainRuntimeConfig
from common.runtime import precision
from common.runtime.distributed import World

ASKED = (
    replace(Config(), runtime=RuntimeConfig(precision="bf16", seed=7)),
    replace(TrainConfig(), runtime=TrainRuntimeConfig(precision="bf16", seed=7)),
)


def _world(rank: int = 0) -> World:
    return World(rank, 2, torch.device("cpu"))


@pytest.mark.parametrize("config", ASKED)
def test_emulated_bf16_becomes_float32_and_is_said(config, monkeypatch, capsys):
    monkeypatch.setattr(precision, "computes_bf16", lambda device: False)
    settled = precision.resolve_precision(config, _world())
    assert settled == replace(config, runtime=replace(config.runtime, precision="fp32"))
    assert type(settled.runtime) is type(config.runtime)
    assert "bf16" in (said := capsys.readouterr().out) and said.count("\n") == 1
    precision.resolve_precision(config, _world(rank=1))
    assert not capsys.readouterr().out


@pytest.mark.parametrize("config", ASKED)
def test_the_precision_asked_for_stays_where_it_is_computed(config, monkeypatch, capsys):
    monkeypatch.setattr(precision, "computes_bf16", lambda device: True)
    assert precision.resolve_precision(config, _world()) is config
    assert not capsys.readouterr().out


def test_float32_is_never_changed(monkeypatch):
    monkeypatch.setattr(precision, "computes_bf16", lambda device: pytest.fail("asked for no reason"))
    assert precision.resolve_precision(Config(), _world()) == Config()


@pytest.mark.parametrize("available", (True, False))
def test_without_onednn_nothing_computes_in_bf16(available, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: available)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert precision.computes_bf16(torch.device("cpu")) is available


def test_a_gpu_is_asked_without_emulation(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert precision.computes_bf16(torch.device("cuda"))
