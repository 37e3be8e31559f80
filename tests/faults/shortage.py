"""Memory that runs out, sooner and later: less is done at once, or one line says so."""

from collections.abc import Iterator

from faults.trials import Case

MODULES = ("RSDM.main", "DBCGM.main", "BlurringModel.main", "DeblurringModel.main", "faults.pipeline")
MIB = 2**20


def shortages(seed: int) -> Iterator[Case]:
    """Each stage with so little memory more than its imports take."""
    for module in MODULES:
        for most in (2, 8, 16, 32, 64, 96, 128, 256):
            yield Case(
                "memory",
                f"{most} MiB more, {module}",
                module,
                lambda folder: None,
                ("not enough memory",),
                either=True,
                memory=most * MIB,
            )
