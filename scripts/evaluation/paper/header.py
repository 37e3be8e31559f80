"""What stands above a table of the paper: data, settings, weights and code that it was made with."""

from common.formats.raft_weights import weights_file
from common.layout import RUN, Layout
from common.runtime.files import read_json
from common.stage import weights_record
from common.videos import find_videos
from scripts.datasets import deviations, published
from scripts.evaluation.paper.cases import Case


def describe_data(cases: list[Case]) -> list[str]:
    """Number of videos and frames of each set, and how they differ from the published set's."""
    lines = []
    for name, case in {case.name: case for case in reversed(cases)}.items():
        config = case.config.dataset
        videos = find_videos(config.root, config.blur, config.sharp, config.videos)
        title = published()["sets"][name]["title"]
        lines.append(f"{title}: {len(videos)} videos, {sum(len(video.frames) for video in videos)} frames")
        lines += [
            f"{title}: NOT the published set, whose figures do not apply: {line}"
            for line in deviations(name, videos)
        ]
    return lines


def describe_changes(cases: list[Case]) -> list[str]:
    """Settings that are not the published ones, with the sets and networks they hold for."""
    users: dict[str, list[str]] = {}
    for case in cases:
        for line in case.changed():
            users.setdefault(line, []).append(f"{case.name} {case.network}")
    every = [f"{case.name} {case.network}" for case in cases]
    return [
        line if names == every else f"{line} ({', '.join(dict.fromkeys(names))})"
        for line, names in users.items()
    ]


def describe_weights(cases: list[Case]) -> list[str]:
    """Every weights file used, with its hash."""
    files = {}
    for case in cases:
        config = case.config
        dbcgm = config.dbcgm
        flow = weights_file(dbcgm.flow, dbcgm.weights) if dbcgm.flow != "dis" else None
        for use, path in (
            ("BME", config.rsdm.weights),
            ("flow", flow),
            ("ID-Blau", config.blurring.weights),
            (case.network, config.deblurring.weights),
        ):
            if path is not None:
                files[use, path] = None
    return [f"{use}: {path.name} {weights_record(path)}" for use, path in files]


def describe_code(cases: list[Case]) -> list[str]:
    """Versions of the code and the libraries that the stages ran with, as they noted them beside their
    results."""
    versions = set()
    for case in cases:
        stage_four = Layout(case.output).network(case.network).folder
        for path in (*case.output.glob(f"*/{RUN}"), *stage_four.glob(f"*/{RUN}")):
            noted = read_json(path)
            libraries = ", ".join(f"{name} {version}" for name, version in noted["libraries"].items())
            versions.add(f"code {noted['code']}, {libraries}")
    return sorted(versions)
