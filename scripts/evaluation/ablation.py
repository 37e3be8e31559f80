"""The ablation's names and labels (the paper's Table 2), for the paper's own tables and the synthetic ones.

A name is a value of rsdm.patches or dbcgm.condition.
"""

PATCHES = {"sharp": "RSDM patches", "random": "random patches"}
CONDITIONS = {"dbcgm": "DBCGM", "optical_flow": "optical-flow condition", "random": "random condition"}
METHOD = ("sharp", "dbcgm")
CELLS = tuple((patches, condition) for patches in PATCHES for condition in CONDITIONS)


def label(patches: str, condition: str) -> str:
    """What a cell is called in a table."""
    return f"{PATCHES[patches]}, {CONDITIONS[condition]}"
