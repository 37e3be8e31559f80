"""Runs one trial after the other, each in a forked process: importing torch takes seconds, a fork
milliseconds.

Reads trials as JSON, one a line, from standard input and writes what came of them, one a line, to standard
output: {"module", "arguments", "folder", "limit"} -> {"code", "out", "err", "seconds"}; code is None for a
trial that had to be killed after `limit` seconds.
"""

import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback

import cv2
import torch

MEMORY = 4 * 2**30
"""Bytes of address space that a trial may take beyond what is mapped at its start: a bomb fails rather than
swaps."""
MODULES = (
    "RSDM.main",
    "DBCGM.main",
    "BlurringModel.main",
    "DeblurringModel.main",
    "DeblurringModel.deblur_inference",
    "DeblurringModel.deblur_finetune_DDP",
    "DeblurringModel.pretrain",
    "RSDM.bme.train",
    "BlurringModel.id_blau.train",
    "scripts.make_synthetic_dataset",
    "scripts.deblur_video",
    "faults.pipeline",
)


def serve() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for name in MODULES:
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(fork(json.loads(line))) + "\n")
        answers.flush()


def fork(trial: dict) -> dict:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            run(trial, out.fileno(), err.fileno())
        status = wait(child, started + trial["limit"])
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return {"code": status, "out": texts[0], "err": texts[1], "seconds": time.monotonic() - started}


def wait(child: int, until: float) -> int | None:
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.003)


def run(trial: dict, out: int, err: int) -> None:
    """In the child; never returns."""
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(trial["folder"])
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        limit = used + (trial.get("memory") or MEMORY)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        if trial.get("file_size"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (trial["file_size"], trial["file_size"]))
        sys.argv = [trial["module"], *trial["arguments"]]
        from common.runtime.entry import run as run_main

        run_main(importlib.import_module(trial["module"]).main)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
