"""The figures of a benchmark as Markdown."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from scripts.benchmarking.workload import Workload

UNITS = {
    "bme": "BME, one frame",
    "raft": "RAFT, one pair, {updates} updates",
    "unet": "ID-Blau UNet, one step: whole frame; crop {context} x {context}",
    "step": "ESTRNN fine-tuning step, {windows} windows 5 x {crop} x {crop}",
    "window": "ESTRNN, one restored frame",
}


RELEASED = (
    "*released* is the released code's way of working, re-enacted with this project's networks: float32, NCHW, one "
    "frame, pair, window or whole frame at a time, everything of a window anew. It is not the authors' code. That "
    "was run beside this project in a review, and by one thread's processor time, which this command does not "
    "measure, BME is 1.13 times faster here, RAFT 1.3, ESTRNN's inference 1.4, and a fine-tuning step is no faster."
)
"""What the columns of that name hold, printed below the tables."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def machine(figures: dict[str, Any]) -> str:
    """What it ran on, and what a convolution reaches there."""
    found, rates = figures["machine"], figures["peak"]
    where = found["gpu"] or f"{found['processor']}, {found['cores']} cores, {found['threads']} threads"
    return (
        f"{where}, PyTorch {found['torch']}. A 3 x 3 convolution of 64 channels reaches "
        f"{rates['nchw'] / 1e9:.0f} GFLOP/s "
        f"in float32 NCHW, {rates['fp32'] / 1e9:.0f} channels-last, {rates['bf16'] / 1e9:.0f} in bf16."
    )


def units(figures: dict[str, Any], workload: Workload) -> str:
    """Seconds of each unit, and what share of the convolution peak of its precision it reaches."""
    rows = []
    for key, title in UNITS.items():
        released, ours, half = (figures["units"][f"{key}:{form}"] for form in ("released", "ours", "bf16"))
        rows.append(
            [
                title.format(**workload.as_dict(), context=workload.context),
                f"{released['seconds']:.3f}",
                f"{ours['seconds']:.3f}",
                f"{half['seconds']:.3f}",
                _rate(released, figures["peak"]["nchw"]),
                _rate(ours, figures["peak"]["fp32"]),
                _rate(half, figures["peak"]["fp32" if key == "raft" else "bf16"]),
                f"{ours['gib']:.2f}",
            ]
        )
    return table(
        [
            "unit",
            "released, s",
            "here, s",
            "bf16, s",
            "released, GFLOP/s (of peak)",
            "here",
            "bf16",
            "memory, GiB",
        ],
        rows,
    )


def _rate(row: dict[str, float], peak: float) -> str:
    rate = row["flops"] / row["seconds"]
    return f"{rate / 1e9:.0f} ({rate / peak:.0%})"


def stage_totals(figures: dict[str, Any], workload: Workload) -> list[dict[str, Any]]:
    """Seconds of each stage on the workload, count x unit: released; ours, with the released results; fewer, with
    fewer evaluations; and these two in bf16."""
    cost = {name: row["seconds"] for name, row in figures["units"].items()}
    frames, regions, units = workload.frames, workload.regions, workload.fine_tuning_units
    restored, thresholds, search = frames - 4, workload.thresholds, cost["search:both"]

    def row(name: str, how: str, released: float, ways: Callable[[str, bool], float]) -> dict[str, Any]:
        made = {
            "ours": ("ours", False),
            "fewer": ("ours", True),
            "bf16": ("bf16", False),
            "fewer_bf16": ("bf16", True),
        }
        return {"stage": name, "how": how, "released": released} | {
            key: ways(*way) for key, way in made.items()
        }

    return [
        row(
            "stage 1",
            f"BME: {frames} frames x {thresholds} thresholds; {frames} frames. Both: search {search:.1f} s",
            frames * thresholds * cost["bme:released"] + search,
            lambda form, fewer: frames * cost[f"bme:{form}"] + search,
        ),
        row(
            "stage 2",
            f"RAFT: {2 * frames} pairs, and BME once more; {2 * regions} pairs (float32 always)",
            2 * frames * cost["raft:released"] + frames * cost["bme:released"],
            lambda form, fewer: 2 * regions * cost[f"raft:{form}"],
        ),
        row(
            "stage 3",
            f"UNet: {regions} x {workload.steps} whole frames; crops {workload.context} x {workload.context}, fewer: "
            f"{workload.fewer_steps} steps of DPM-Solver++(2M)",
            regions * workload.steps * cost["unet:released"],
            lambda form, fewer: (
                regions * (workload.fewer_steps if fewer else workload.steps) * cost[f"unet:{form}"]
            ),
        ),
        row(
            "stage 4, fine-tuning",
            f"{units} steps of {workload.windows} windows: {workload.epochs} epochs of {regions} pairs",
            units * cost["step:released"],
            lambda form, fewer: units * cost[f"step:{form}"],
        ),
        row(
            "stage 4, inference",
            f"{restored} windows; fewer: clips of {workload.long_clip} frames",
            restored * cost["window:released"],
            lambda form, fewer: restored * cost[f"{'clip' if fewer else 'window'}:{form}"],
        ),
    ]


WAYS = {"ours": "here, s", "fewer": "fewer evaluations, s", "bf16": "bf16, s", "fewer_bf16": "fewer, bf16, s"}


def stages(figures: dict[str, Any], workload: Workload) -> str:
    """`stage_totals` with their ratios."""
    rows, seconds = [], lambda value: f"{value:.0f}" if value >= 10 else f"{value:.2g}"
    totals = stage_totals(figures, workload)
    whole = {form: sum(row[form] for row in totals) for form in ("released", *WAYS)}
    for row in (*totals, {"stage": "all", "how": "", **whole}):
        compared = [(seconds(row[way]), f"{row['released'] / row[way]:.1f}") for way in WAYS]
        rows.append([row["stage"], seconds(row["released"]), *chain(*compared), row["how"]])
    head = [(title, "times faster") for title in WAYS.values()]
    return table(["stage", "released, s", *chain(*head), "count (released; here)"], rows)


def networks(figures: dict[str, Any]) -> str:
    """Every deblurring network at test time."""
    rows = []
    for name, row in figures["networks"].items():
        full, half = row["fp32"], row["bf16"]
        rows.append(
            [
                name,
                f"{full['parameters'] / 1e6:.2f} M",
                str(full["units"]),
                f"{full['seconds']:.2f}",
                f"{half['seconds']:.2f}",
                _rate(full, figures["peak"]["fp32"]),
                f"{full['gib']:.2f}",
            ]
        )
    return table(
        [
            "network",
            "parameters",
            "frames restored",
            "seconds a restored frame",
            "bf16",
            "GFLOP/s (of peak)",
            "memory, GiB",
        ],
        rows,
    )


def compile(figures: dict[str, Any], workload: Workload) -> str:
    """What torch.compile changes: seconds of a unit, and how long the first run with it lasts, which
    compiles."""
    rows = []
    for key, row in figures["compile"].items():
        cells = [
            f"{row[precision][form]['seconds']:.3f}"
            for precision in ("fp32", "bf16")
            for form in ("ours", "compiled")
        ]
        first = [f"{row[precision]['compiled']['first']:.0f}" for precision in ("fp32", "bf16")]
        title = UNITS[key].format(**workload.as_dict(), context=workload.context)
        rows.append([title.replace("whole frame; ", ""), *cells, " and ".join(first)])
    return table(["unit", "float32, s", "compiled", "bf16, s", "compiled", "first run, compiled, s"], rows)


def scaling(figures: dict[str, Any]) -> str:
    """The clip in one process and in several."""
    one, (count, several) = figures["scaling"]["1"], list(figures["scaling"].items())[-1]
    rows = [
        [
            name,
            f"{one[name]['seconds']:.1f}",
            f"{several[name]['seconds']:.1f}",
            f"{one[name]['seconds'] / several[name]['seconds']:.2f}",
            f"{one[name]['gib']:.2f}",
        ]
        for name in one
    ]
    return table(
        ["stage", "1 process, s", f"{count} processes, s", "times faster", "memory of a process, GiB"], rows
    )


def growth(figures: dict[str, Any]) -> str:
    """How the cost grows."""
    return table(
        ["unit", "with", "s"],
        [[unit, what, f"{seconds:.3f}"] for unit, what, seconds in figures["growth"]["rows"]],
    )


def demo(figures: dict[str, Any]) -> str:
    """The demo, and what bf16 changes."""
    found = figures["demo"]
    rows = [[name, f"{row['seconds']:.1f}", f"{row['gib']:.2f}"] for name, row in found["stages"].items()]
    rows.append(["all", f"{sum(row['seconds'] for row in found['stages'].values()):.1f}", ""])
    return (
        table(["demo", "s", "memory, GiB"], rows)
        + f"\n\nThe unadapted network on its {found['frames']} frames: PSNR {found['psnr']['fp32']:.3f} dB "
        "in float32, "
        f"{found['psnr']['bf16']:.3f} dB in bf16; the two against each other {found['between']:.1f} dB."
    )


def memory(rows: dict[str, Any]) -> str:
    """Peak memory of each stage in each case."""
    names = list(next(iter(rows.values())))
    return table(
        ["peak memory, GiB", *rows],
        [[name, *(f"{row[name]['gib']:.2f}" for row in rows.values())] for name in names],
    )
