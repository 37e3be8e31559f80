"""Where a run writes: its folder, and the results that people want."""

import shutil
from pathlib import Path
from typing import Any

from common.checkpoints import sha256
from common.errors import UserError
from common.layout import Layout
from common.runtime.files import read_json, write_json
from common.videos import FRAME_SUFFIXES
from scripts.video.containers import OTHER_ENDINGS
from scripts.video.preparation import Clip, recorded_sources
from scripts.video.sources import VIDEO_SUFFIXES, Source


class Place:
    """The folder of a run and the places of its results.

    out: what --out names, a video file (for one clip) or the folder; None: a folder below the current
    one, named after the clip, with a number where clips of the same name from another place have it.
    Raises UserError for a file with several clips, or a folder that is, holds or lies within a clip.
    """

    def __init__(self, out: Path | None, sources: list[Source]) -> None:
        single = sources[0].path.absolute() if len(sources) == 1 else None
        out = None if out is None else out.expanduser().resolve()
        if out is not None and not out.is_dir() and out.suffix.lower() in (*OTHER_ENDINGS, *FRAME_SUFFIXES):
            raise UserError(
                f"--out: {out.name} cannot be written; name a file that ends in "
                f"{', '.join(VIDEO_SUFFIXES)}, or a folder"
            )
        self._file = out if out is not None and out.suffix.lower() in VIDEO_SUFFIXES else None
        if self._file is not None and single is None:
            raise UserError(f"--out: {out} is one file for {len(sources)} clips; name a folder")
        if self._file is not None:
            self.folder = out.with_name(f"{out.stem}_files")
        elif out is not None:
            self.folder = out
        else:
            name = "deblurred" if single is None else f"{sources[0].name}_deblurred"
            self.folder = _own_folder(Path.cwd(), name, sources)
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder}: is a file, a folder is needed; choose another place with --out")
        for source in sources:
            path = source.path.resolve()
            if (
                path in (self.folder, self._file)
                or path.is_relative_to(self.folder)
                or self.folder.is_relative_to(path)
            ):
                raise UserError(f"{source.path}: would be written over; choose another place with --out")

    def results(self, clips: list[Clip]) -> list[Path]:
        """The result of each clip: a video file, or the folder of its images."""
        if self._file is not None:
            return [self._file]
        return [
            self.folder / f"{clip.name}.mp4" if clip.is_video else Layout(self.folder).delivered(clip.name)
            for clip in clips
        ]

    def check(self, clips: list[Clip]) -> None:
        """UserError where a result would replace a file that is not from here."""
        own = self._record().get("results", {})
        for clip, path in zip(clips, self.results(clips)):
            if path.suffix.lower() in VIDEO_SUFFIXES and path.exists() and str(path) not in own:
                raise UserError(
                    f"{path}: exists already and is not from this command; remove it, or choose another "
                    "place with --out"
                )

    def done(self, clips: list[Clip], settings: Any) -> bool:
        """Whether the results are there, made with these settings, and unchanged since."""
        record = self._record()
        return (
            record.get("settings") == settings
            and record.get("done") is True
            and all(
                path.exists() and record["results"].get(str(path)) == _digest(path)
                for path in self.results(clips)
            )
        )

    def begin(self, clips: list[Clip]) -> None:
        """Note down which files will be written, so that they are known as own ones should the run be
        killed."""
        write_json(
            Layout(self.folder).delivery,
            {"done": False, "results": {str(path): None for path in self.results(clips)}},
        )

    def finish(self, clips: list[Clip], settings: Any) -> None:
        """Note down that everything is written."""
        write_json(
            Layout(self.folder).delivery,
            {
                "done": True,
                "settings": settings,
                "results": {str(path): _digest(path) for path in self.results(clips)},
            },
        )

    def empty(self) -> None:
        """Remove everything that an earlier run wrote."""
        if not self.folder.exists() or not any(self.folder.iterdir()):
            return
        record = Layout(self.folder).clip
        if not record.is_file():
            raise UserError(
                f"{self.folder}: not emptied by --overwrite, because it holds no {record.name} of this command"
            )
        for path in self._record().get("results", {}):
            if Path(path) == self._file:
                Path(path).unlink(missing_ok=True)
        shutil.rmtree(self.folder)

    def _record(self) -> dict:
        path = Layout(self.folder).delivery
        content = read_json(path) if path.exists() else {}
        if not isinstance(content, dict) or not isinstance(content.get("results", {}), dict):
            raise UserError(f"{path}: damaged; start again with --overwrite")
        return content


def _own_folder(parent: Path, name: str, sources: list[Source]) -> Path:
    """The first folder of this name that no other clips have; by its place or its content a clip is known."""
    folder, number = parent / name, 1
    while (clips := recorded_sources(Layout(folder).clip)) and not _same(clips, sources):
        number += 1
        folder = parent / f"{name}_{number}"
    return folder


def _same(clips: list[tuple[str, str]], sources: list[Source]) -> bool:
    """Whether recorded clips (path, identity) are these, or were before they changed or moved."""
    if {path for path, _ in clips} & {str(source.path.absolute()) for source in sources}:
        return True
    return bool({identity for _, identity in clips} & {source.identity() for source in sources})


def _digest(path: Path) -> str:
    """Of a file's content; of a folder, of the names of its files and their sizes."""
    if path.is_file():
        return sha256(path)
    return repr(sorted((entry.name, entry.stat().st_size) for entry in path.iterdir()))
