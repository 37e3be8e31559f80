"""Weights from strangers."""

import argparse
import builtins
import collections
import io
import os
import pickle
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from faults.files import MARKER, TRAINERS, recipe
from faults.trials import Case

from common.checkpoints import load_checkpoint, load_state

STAGES = {
    "RSDM.main": ("rsdm", "bme.pth"),
    "BlurringModel.main": ("blurring", "id_blau.pth"),
    "DeblurringModel.main": ("deblurring", "estrnn.tar"),
}
FLOW = "DBCGM.main"


def strangers(seed: int) -> Iterator[Case]:
    """All cases of this file; the same seed gives the same."""
    rng = np.random.default_rng(seed)
    yield from hostile()
    yield from damaged(rng)
    yield from other()
    yield from resumed()


class Call:
    """Pickles into a call."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


class State(Call):
    """Pickles into a harmless object whose state is then built by a call."""

    def __reduce__(self) -> tuple:
        return argparse.Namespace, (), {"device": Call(*self.call[:1], *self.call[1])}


CODE = f"open({MARKER!r}, 'w').close()"
CALLS: dict[str, Callable[[], object]] = {
    "os.system": lambda: Call(os.system, f"touch {MARKER}"),
    "builtins.exec": lambda: Call(builtins.exec, CODE),
    "builtins.eval": lambda: Call(builtins.eval, CODE),
    "io.open": lambda: Call(io.open, MARKER, "w"),
    "subprocess.call": lambda: Call(subprocess.call, ["touch", MARKER]),
    "os.remove": lambda: Call(os.remove, "config.yaml"),
    "torch.load": lambda: Call(torch.load, "evil.pth"),
    "state of a Namespace": lambda: State(os.system, f"touch {MARKER}"),
}
PLACES: dict[str, Callable[[object, dict], object]] = {
    "alone": lambda call, weights: call,
    "beside": lambda call, weights: {"model_state": weights, "hook": call},
    "among the weights": lambda call, weights: {"model_state": {**weights, "extra": call}},
    "in a Namespace": lambda call, weights: {
        "model_state": weights,
        "args": argparse.Namespace(device="cpu", extra=[call]),
    },
    "nested": lambda call, weights: {
        "model_state": weights,
        "optimizer": collections.OrderedDict(a=[{"b": (1, call)}]),
    },
}


def written(data: object, form: str) -> bytes:
    if form == "pickle":
        return pickle.dumps(data, protocol=2)
    file = io.BytesIO()
    torch.save(data, file, _use_new_zipfile_serialization=form == "zip")
    return file.getvalue()


def weights_of(folder: Path, file: str) -> dict:
    with torch.serialization.safe_globals([argparse.Namespace, torch.device]):
        return torch.load(folder / "weights" / file, weights_only=True)


def put(module: str, make: Callable[[Path, str], bytes]) -> Callable[[Path], None]:
    """An arrangement: the stage's weights file replaced by what `make` makes of it."""

    def act(folder: Path) -> None:
        file = STAGES[module][1]
        (folder / "weights" / file).write_bytes(make(folder, file))

    return act


def hostile() -> Iterator[Case]:
    for name, call in CALLS.items():
        for number, (place, build) in enumerate(PLACES.items()):
            form = ("zip", "old", "pickle")[number % 3]
            for module in STAGES if place == "alone" else ("BlurringModel.main",):
                yield Case(
                    "hostile weights",
                    f"{name} {place}, {form}, {module}",
                    module,
                    put(
                        module,
                        lambda folder, file, call=call, build=build, form=form: written(
                            build(call(), weights_of(folder, file)), form
                        ),
                    ),
                    (STAGES[module][1],),
                )
        yield Case(
            "hostile weights",
            f"{name}, flow",
            FLOW,
            lambda folder, call=call: (folder / "evil.pth").write_bytes(written(call(), "zip")) and None,
            ("evil.pth",),
            ("--config", "config.yaml", "--set", "dbcgm.flow=raft_large", "dbcgm.weights=evil.pth"),
        )
        for trainer in TRAINERS:

            def start(folder: Path, call: Callable = call, trainer: str = trainer) -> None:
                path = recipe(folder, {**TRAINERS[trainer], "weights": "evil.pth"})
                (path.parent / "evil.pth").write_bytes(written({"model_state": call()}, "zip"))

            yield Case(
                "hostile weights",
                f"{name}, {trainer}",
                trainer,
                start,
                ("evil.pth",),
                ("--config", "recipe.yaml"),
            )


def damaged(rng: np.random.Generator) -> Iterator[Case]:
    for module, (_, file) in STAGES.items():
        for number in range(6):
            share = float(rng.random())
            yield Case(
                "damaged weights",
                f"truncated {number}, {module}",
                module,
                put(
                    module,
                    lambda folder, file, share=share: (folder / "weights" / file).read_bytes()[
                        : int(share * (folder / "weights" / file).stat().st_size)
                    ],
                ),
                (file,),
            )
        for number in range(4):
            share, bit = float(rng.random()), int(rng.integers(8))

            def flipped(folder: Path, file: str, share: float = share, bit: int = bit) -> bytes:
                data = bytearray((folder / "weights" / file).read_bytes())
                data[int(share * len(data))] ^= 1 << bit
                return bytes(data)

            # One bit of one weight is another weight.
            yield Case(
                "damaged weights",
                f"one bit flipped {number}, {module}",
                module,
                put(module, flipped),
                (file,),
                either=True,
            )
        for name, data in (
            ("zero bytes", b""),
            ("text", b"404: Not Found"),
            ("zeros", bytes(4096)),
            ("noise", rng.bytes(4096)),
        ):
            yield Case(
                "damaged weights",
                f"{name}, {module}",
                module,
                put(module, lambda folder, file, data=data: data),
                (file,),
            )


def other() -> Iterator[Case]:
    def every(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path, str], bytes]:
        def make(folder: Path, file: str) -> bytes:
            def walked(value: object) -> object:
                if isinstance(value, torch.Tensor):
                    return change(value) if value.is_floating_point() and value.numel() > 1 else value
                return (
                    {name: walked(inside) for name, inside in value.items()}
                    if isinstance(value, dict)
                    else value
                )

            return written(walked(weights_of(folder, file)), "zip")

        return make

    changes = {
        "NaN": lambda t: t * float("nan"),
        "infinite": lambda t: t + float("inf"),
        "one more dimension": lambda t: t[None],
        "empty": lambda t: t[:0],
        "meta": lambda t: t.to("meta"),
        "sparse": lambda t: t.to_sparse(),
        "complex": lambda t: t.to(torch.complex64),
        "endless views": lambda t: torch.zeros(1).expand(2**40),
    }
    for module, (_, file) in STAGES.items():
        for name, change in changes.items():
            yield Case(
                "weights of another kind", f"{name}, {module}", module, put(module, every(change)), (file,)
            )
        for stranger in {"bme.pth", "id_blau.pth", "estrnn.tar"} - {file}:
            yield Case(
                "weights of another kind",
                f"{stranger}, {module}",
                module,
                put(
                    module,
                    lambda folder, file, stranger=stranger: (folder / "weights" / stranger).read_bytes(),
                ),
                (file,),
            )
        for name, content in (
            ("no weights", {"epoch": 3}),
            ("a list", [1]),
            ("a tensor", torch.ones(3)),
            ("names that are numbers", {1: torch.ones(2)}),
            ("weights that are words", {"model_state": {"a": "b"}}),
        ):
            yield Case(
                "weights of another kind",
                f"{name}, {module}",
                module,
                put(module, lambda folder, file, content=content: written(content, "zip")),
                (file,),
            )

    def schedule(betas: torch.Tensor) -> Callable[[Path, str], bytes]:
        def make(folder: Path, file: str) -> bytes:
            content = weights_of(folder, file)
            return written({"model_state": {**content["model_state"], "betas": betas}}, "zip")

        return make

    for name, betas in (
        ("NaN", torch.full((100,), float("nan"))),
        ("two dimensions", torch.ones(10, 10)),
        ("none", torch.zeros(0)),
        ("a number", torch.tensor(0.1)),
        ("other length", torch.full((7,), 0.1)),
        ("endless", torch.zeros(1).expand(2**36)),
        ("integers", torch.ones(100, dtype=torch.int64)),
        ("above one", torch.full((100,), 5.0)),
        ("complex", torch.ones(100, dtype=torch.complex64)),
    ):
        yield Case(
            "weights of another kind",
            f"noise schedule: {name}",
            "BlurringModel.main",
            put("BlurringModel.main", schedule(betas)),
            ("id_blau.pth",),
            either=name in ("integers", "above one"),
        )


def resumed() -> Iterator[Case]:
    """States that a training goes on from."""
    contents: dict[str, Callable[[dict], object]] = {
        "weights alone": lambda s: {"model_state": s["model_state"], "step": 1},
        "another optimiser": lambda s: {**s, "step": 1, "optimizer_state": {"state": {}, "param_groups": []}},
        "optimiser a list": lambda s: {**s, "step": 1, "optimizer_state": [1]},
        "step a word": lambda s: {**s, "step": "1"},
        "log a number": lambda s: {**s, "step": 1, "log": 3},
        "NaN": lambda s: {
            **s,
            "step": 1,
            "model_state": {k: v * float("nan") for k, v in s["model_state"].items()},
        },
        "hostile": lambda s: {**s, "step": 1, "hook": Call(os.system, f"touch {MARKER}")},
        "no weights": lambda s: {"step": 1},
        "a list": lambda s: [1],
    }
    for name, change in contents.items():

        def act(folder: Path, change: Callable[[dict], object] = change) -> None:
            path = folder / "out/deblurring/ESTRNN/weights/last.pth"
            path.write_bytes(written(change(load_checkpoint(path)), "zip"))

        yield Case(
            "states to go on from",
            name,
            "DeblurringModel.deblur_finetune_DDP",
            act,
            ("last.pth",),
            fresh=False,
        )
    for name, data in (("zero bytes", b""), ("half", None)):

        def act(folder: Path, data: bytes | None = data) -> None:
            path = folder / "out/deblurring/ESTRNN/weights/last.pth"
            path.write_bytes(path.read_bytes()[:1000] if data is None else data)

        for module in ("DeblurringModel.deblur_finetune_DDP", "DeblurringModel.deblur_inference"):
            yield Case("states to go on from", f"{name}, {module}", module, act, ("last.pth",), fresh=False)


def layouts(seed: int) -> Iterator[Case]:
    """The right weights in other people's wrappers, which load, and files that are none, which are named."""
    wrapped: dict[str, Callable[[dict], object]] = {
        "bare": lambda state: state,
        **{
            f"prefix {prefix}": lambda state, prefix=prefix: {
                "state_dict": {f"{prefix}{key}": tensor for key, tensor in state.items()}
            }
            for prefix in (
                "module.",
                "_orig_mod.",
                "net.",
                "generator.",
                "module._orig_mod.",
                "net.module.model.",
            )
        },
        "params_ema": lambda state: {
            "params": {key: 0 * tensor for key, tensor in state.items()},
            "params_ema": state,
        },
        "model_state_dict": lambda state: {"model_state_dict": state, "epoch": np.int64(3)},
        "ema": lambda state: {"ema": state, "model": {key: 0 * tensor for key, tensor in state.items()}},
        "n_averaged": lambda state: {
            "n_averaged": torch.tensor(7),
            **{f"module.{key}": tensor for key, tensor in state.items()},
        },
        "numpy scalars beside": lambda state: {
            "state_dict": state,
            "best": np.float64(31.5),
            "on": np.bool_(True),
        },
    }
    for module, (_, file) in STAGES.items():
        for name, wrap in wrapped.items():
            yield _layout_case(
                name,
                module,
                lambda folder, file, wrap=wrap: written(wrap(load_state(folder / "weights" / file)), "zip"),
                None,
            )
        for name, packed in PACKED.items():
            yield _layout_case(
                name,
                module,
                lambda folder, file, packed=packed: packed((folder / "weights" / file).read_bytes()),
                (file,),
            )


def _layout_case(
    name: str,
    module: str,
    made: Callable[[Path, str], bytes],
    words: tuple[str, ...] | None,
) -> Case:
    return Case("weights in other layouts", f"{name}, {module}", module, put(module, made), words)


def _zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("best.pth", data)
    return file.getvalue()


def _tarred(data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        entry = tarfile.TarInfo("best.pth")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "a page": lambda data: b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "a Git LFS pointer": lambda data: (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1234\n"
    ),
    "zipped": _zipped,
    "tarred": _tarred,
}
