"""Shared by all tests: two threads, so that figures do not depend on the machine's core count, and the markers fast and
slow."""

import os

import pytest
import torch

torch.set_num_threads(2)
# Chosen, so that no command adds a line about what else this machine is doing. Tests that run side by side share them.
_side_by_side = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, os.cpu_count() // _side_by_side)))

SLOW = {
    "test_benchmark",
    "test_best_pairs",
    "test_blur_models",
    "test_check_settings",
    "test_deblur_video",
    "test_check_setup",
    "test_doors",
    "test_dstnet_network",
    "test_entry",
    "test_errors",
    "test_estrnn_network",
    "test_eval_synthetic",
    "test_evaluation",
    "test_fetch_weights",
    "test_id_blau_network",
    "test_mmp_rnn_network",
    "test_measured",
    "test_models",
    "test_moments",
    "test_pair_sources",
    "test_pipeline",
    "test_rehearsal",
    "test_report",
    "test_rivals",
    "test_scripts",
    "test_shift_net_network",
    "test_training",
    "test_training_real",
    "test_validation_shared",
    "test_video_files",
}
"""Files whose tests run stages, trainers or published networks. Those below tests/faults are slow too."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test as fast or slow, by its file."""
    for item in items:
        slow = item.path.stem in SLOW or item.path.parent.name == "faults"
        item.add_marker("slow" if slow else "fast")
