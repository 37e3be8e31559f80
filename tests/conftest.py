"""Shared by all tests: two threads, so that figures do not depend on the machine's core count."""

import torch

torch.set_num_threads(2)
