"""The short way in: the faces of a photograph, and the observations of a camera."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from edgefer.errors import SourceError
from edgefer.pipeline.loop import observe
from edgefer.pipeline.stages import open_pipeline
from edgefer.settings import Settings
from edgefer.sources import open_source, pick_source
from edgefer.sources.images import Images
from edgefer.spec import Spec
from edgefer.types import Face, Observation


def photo(path: str | Path, settings: Settings | None = None) -> tuple[Face, ...]:
    """The faces in one picture file, each with its expression.

    For many pictures, ``open_source("images:FOLDER")`` and one pipeline are faster. Raises `SourceError` if the file is
    missing or no picture.

    >>> for face in edgefer.photo("face.png"):
    ...     print(face.expression, face.box)
    happy Box(x=261, y=145, w=229, h=229)
    """
    if not Path(path).is_file():
        raise SourceError(f"{path}: no such picture; give the path of an image file, such as picture.jpg")
    (frame,) = Images(Spec(f"images:{path}", "images", str(path), {}))
    return open_pipeline(settings, tracked=False).process(frame).faces


@contextmanager
def camera(source: str = "", settings: Settings | None = None) -> Iterator[Iterator[Observation]]:
    """Open a camera, a clip or a stream; gives an observation for each frame, and closes it at the end.

    ``source`` is a spec such as ``"opencv:0"`` or ``"file:clip.mp4"``; empty takes the first camera found, else drawn faces.
    Faces keep their ``track`` from frame to frame. If your loop is slower than a camera, frames are skipped, so that the
    next one is always new. Raises `SourceError` if the camera cannot be opened or gives no frames.

    >>> with edgefer.camera("synthetic:?seconds=1&paced=false") as observations:
    ...     for observation in observations:
    ...         faces = observation.faces
    >>> observation.frame.index, [face.track for face in faces]
    (29, [1])
    """
    settings = settings or Settings()
    with closing(open_source(source or settings.source or pick_source(lambda _: None))) as opened:
        pipeline = open_pipeline(settings)
        with closing(observe(opened, pipeline, settings.source_timeout_s)) as observations:
            yield observations
