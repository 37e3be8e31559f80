"""All four stages one after the other in one process, as a module with a main()."""

from BlurringModel.main import main as blur
from DBCGM.main import main as condition
from DeblurringModel.main import main as deblur
from RSDM.main import main as detect


def main() -> None:
    for stage in (detect, condition, blur, deblur):
        stage()
