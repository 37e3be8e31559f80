"""The synthetic benchmark's cells: which settings each result of its tables is made with."""

from dataclasses import dataclass, replace

from common import layout
from common.config_loader import preset_overrides
from common.layout import ADAPTED, ADAPTED_BEST_GT
from scripts.evaluation import ablation
from scripts.evaluation.runner import ROOT

DOMAINS, UNSEEN = ("phone", "action", "night"), "vehicle"
"""Presets. The last is for confirming what was decided on the others."""
CLIPS, FRAMES, SIZE, DATA_SEED = 6, 30, (480, 360), 5
LAST, BEST, ALONE, FUSED = ADAPTED, ADAPTED_BEST_GT, layout.ALIGNED, layout.FUSED


@dataclass(frozen=True)
class Cell:
    """One way of adaptation. settings: `section.key=value` on top of the configuration; variant: which of the
    results of one training is measured (what is borrowed alone hangs on none). preset: name of a file of
    configs/method that replaces the configuration's method, below the settings. script: name of a rival of
    scripts/rivals that makes the result in place of the four stages, with these arguments."""

    name: str
    label: str
    settings: tuple[str, ...] = ()
    variant: str = LAST
    preset: str = ""
    script: str = ""
    arguments: tuple[str, ...] = ()

    def overrides(self) -> list[str]:
        """`section.key=value` for all that the cell sets."""
        preset = preset_overrides(ROOT / "configs" / "method" / f"{self.preset}.yaml") if self.preset else []
        return [*preset, *self.settings]


# Looking at the ground truth every epoch takes as long as the training, which it does not influence.
_WITH_CHOICE = "deblurring.select=both"
METHOD = Cell("method", "adapted, last epoch (label-free)", (_WITH_CHOICE,))
# Ten epochs, though there are more of these pairs and with that more steps: the learning rate is lowered from
# epoch to epoch, and one epoch of as many steps as the method's would never lower it.
CEILING = Cell(
    "true_pairs",
    "ceiling: true pairs, the same boxes in every frame",
    ("deblurring.pairs=ground_truth", "deblurring.epochs=10"),
)
TABLE_1 = (METHOD, Cell("method", "adapted, epoch chosen by ground truth", (_WITH_CHOICE,), BEST), CEILING)

LARGEST_RANDOM = 30.0
"""Pixels; the published 205 is meant for frames of 640 x 480 and more, these clips' longest blur is about
25."""


def _ablation(patches: str, condition: str) -> Cell:
    label = ablation.label(patches, condition)
    if (patches, condition) == ablation.METHOD:
        return Cell(METHOD.name, label, METHOD.settings)
    return Cell(
        f"{patches}_{condition}",
        label,
        (
            f"rsdm.patches={patches}",
            f"dbcgm.condition={condition}",
            f"dbcgm.random_magnitude={LARGEST_RANDOM}",
        ),
    )


TABLE_2 = tuple(_ablation(*cell) for cell in ablation.CELLS)

# Everything as released, then one thing at a time. Stage 2 makes what any window needs, so that rows share
# it; all frames are restored and there are as many steps as in the other rows.
_COMPARABLE = (
    "dbcgm.frames=all",
    "dbcgm.motion=true",
    "deblurring.borders=mirror",
    "deblurring.min_steps=300",
)
# What goes beyond, with the published share of regions; from here on to the demo's settings.
_MOVED = ("rsdm.ratio=0.2", "blurring.moved.copies=4", "deblurring.min_steps=300")


def _released(name: str, label: str, *settings: str, preset: str = "released") -> Cell:
    return Cell(name, label, (*_COMPARABLE, *settings), preset=preset)


def _moved(name: str, label: str, *settings: str) -> Cell:
    return Cell(name, label, (*_MOVED, *settings))


TABLE_3 = (
    _released(
        "released",
        "released code: window center, central trajectory, offset 10, r = 20 %, one network; 300 steps (about 75 "
        "epochs) at learning rate 3e-4",
    ),
    _released(
        "released_epochs",
        "released, with its 10 epochs at learning rate 5e-4",
        "deblurring.min_steps=0",
        "deblurring.epochs=10",
        "deblurring.learning_rate=5.0e-4",
    ),
    _released("released_line", "released, blurred along lines in place of ID-Blau", "blurring.model=line"),
    _released("offset_0", "released, offset 0", "dbcgm.magnitude_offset=0.0"),
    _released(
        "offset_0_line",
        "released, offset 0, blurred along lines",
        "dbcgm.magnitude_offset=0.0",
        "blurring.model=line",
    ),
    _released(
        "five_frame",
        "five-frame trajectory, offset 0 (paper)",
        preset="paper",
    ),
    _released(
        "moving_neighbours",
        "offset 0, regions whose neighbours move 2 px",
        "dbcgm.magnitude_offset=0.0",
        "rsdm.min_neighbour_motion=2.0",
    ),
    _released(
        "window_all",
        "offset 0, window all",
        "dbcgm.magnitude_offset=0.0",
        "blurring.window=all",
        "dbcgm.frames=all",
    ),
    _moved("moved", "beyond: window moved, four copies, r = 20 %", _WITH_CHOICE),
    _moved(
        "noisy_target",
        "beyond, targets with their noise",
        "blurring.moved.denoise_target=false",
        _WITH_CHOICE,
    ),
    _moved(
        "moved_own",
        "beyond, targets with their noise, and no noise added",
        "blurring.moved.denoise_target=false",
        "blurring.renoise=false",
    ),
    _moved("no_rehearsal", "beyond, without rehearsal", "deblurring.rehearsal=0"),
    _moved(
        "no_still",
        "beyond, without rehearsal and blend_still",
        "deblurring.rehearsal=0",
        "blurring.moved.blend_still=false",
    ),
    _moved("moved_video", "beyond, one network a video", "deblurring.scope=video", _WITH_CHOICE),
    _moved("ratio_10", "beyond, r = 10 %", "rsdm.ratio=0.1"),
    _moved("ratio_40", "beyond, r = 40 %", "rsdm.ratio=0.4"),
    # Does the method lack training time or pairs?
    _moved("steps_1000", "beyond, 1,000 steps", "deblurring.min_steps=1000"),
    _moved("two_copies", "beyond, r = 40 %, two copies", "rsdm.ratio=0.4", "blurring.moved.copies=2"),
    Cell(METHOD.name, "the demo's settings", METHOD.settings),
    # Other ways of adapting, with the configuration's network. A third one, aligned pairs only, is in Table 5.
    Cell(
        "meta_transfer",
        "rival: meta-transfer (Liu et al., 2022), from the same network as all other rows",
        script="meta_transfer",
    ),
    Cell(
        "meta_transfer_own_start",
        "rival: meta-transfer, from the network that was meta-learned along",
        script="meta_transfer",
        arguments=("--own-start",),
    ),
    Cell("reblurring_loss", "rival: reblurring loss (Nah et al., 2022)", script="reblurring_loss"),
)
# One network per clip, as scripts/deblur_video.py trains it: which of its states is used.
_ONE_EACH = "deblurring.scope=video"
TABLE_4 = (
    Cell("scope_video", "last state", (_ONE_EACH, _WITH_CHOICE)),
    Cell(
        "scope_video_best_pairs",
        "state that is best on held-out pairs",
        (_ONE_EACH, "deblurring.select=best_pairs"),
    ),
    Cell(
        "scope_video", "state chosen by ground truth (for comparison only)", (_ONE_EACH, _WITH_CHOICE), BEST
    ),
)
# What the clip's own sharp moments give: as pairs to learn from, and laid over the result.
_PAIRS = tuple(
    Cell(f"pairs_{kind}", f"adapted, {label}", (f"deblurring.pairs={kind}",))
    for kind, label in (("aligned", "aligned pairs"), ("both", "reblurred and aligned pairs"))
)
_REBLURRED = Cell(METHOD.name, "adapted, reblurred pairs (the paper)", METHOD.settings)
TABLE_5 = (
    _REBLURRED,
    *_PAIRS,
    Cell(METHOD.name, "borrowed alone, without a network", METHOD.settings, ALONE),
    *(
        replace(cell, label=f"fused: borrowed, and {cell.label}", variant=FUSED)
        for cell in (_REBLURRED, *_PAIRS)
    ),
)
TABLES = {1: TABLE_1, 2: TABLE_2, 3: TABLE_3, 4: TABLE_4, 5: TABLE_5}
