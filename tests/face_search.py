"""Both face searches and the tracker without a classifier, and detectors that record what they are asked."""

from __future__ import annotations

from functools import lru_cache

from edgefer.detectors import Detector, Evidence, open_detector
from edgefer.luma import luma_of
from edgefer.pipeline.known_faces import KnownFaceSearch
from edgefer.pipeline.motion import Gate
from edgefer.pipeline.new_faces import NewFaceSearch, distinct
from edgefer.pipeline.tracker import Tracker
from edgefer.settings import DetectorSettings, GateSettings
from edgefer.sources.synthetic import Scene
from edgefer.types import Box, Pixels, Track


class Recorder(Detector):
    """A real detector, and its calls: (height, width, least and greatest side searched).

    ``unsure``: it never finds a face with evidence to spare; ``blind``: it finds none at all.
    """

    def __init__(self, name: str) -> None:
        self.unsure = self.blind = False
        self.calls: list[tuple[int, int, int, int]] = []
        self._detector: Detector = open_detector(name, DetectorSettings())
        self.resizes = self._detector.resizes

    def __call__(self, luma: Pixels, smallest_px: int, largest_px: int = 0, evidence: Evidence = Evidence.ENOUGH) -> list[Box]:
        self.calls.append((*luma.shape, smallest_px, largest_px))
        if self.blind or (self.unsure and evidence is Evidence.PLENTY):
            return []
        return self._detector(luma, smallest_px, largest_px, evidence)

    def take_pixels(self) -> int:
        """Pixels searched since the last call of this."""
        calls, self.calls = self.calls, []
        return sum(height * width for height, width, *_ in calls)


class FaceSearch:
    """Frames through gate, searches and tracker, as the pipeline does it; Haar finds known faces, ``new`` new ones."""

    def __init__(self, new: str = "haar", min_hits: int = 2, **settings: float) -> None:
        self.known = Recorder("haar")
        self.new = self.known if new == "haar" else Recorder(new)
        self._gate = Gate(GateSettings().threshold)
        self._known_faces = KnownFaceSearch(self.known, confirms=self.known is self.new)
        self.new_faces = NewFaceSearch(self.new, self.known, DetectorSettings(**settings), GateSettings().refresh_s)  # type: ignore[arg-type]
        self._tracker = Tracker(0.3, 0.4, min_hits, 0.5)

    def see(self, luma: Pixels, time_s: float) -> list[Track]:
        """The tracks of a frame."""
        motion = self._gate.compare(luma)
        known = self._known_faces.search(luma, motion, time_s, self._tracker.predict(time_s))
        new = self.new_faces.search(luma, motion, time_s, known)
        self._gate.update_reference(known.searched | new.searched)
        return self._tracker.update(distinct([*known.detections, *new.detections]), time_s, known.tracks)


@lru_cache(maxsize=128)
def drawn(scene: Scene, index: int) -> Pixels:
    """A frame of a scene as luma, read-only: many tests share it."""
    luma = luma_of(scene.draw(index))
    luma.flags.writeable = False
    return luma


def after_static(frame: Pixels, **settings: float) -> FaceSearch:
    """A search that saw one frame three times, its detector's calls forgotten."""
    search = FaceSearch(**settings)  # type: ignore[arg-type]
    for index in range(3):
        search.see(frame, index / 30)
    search.known.calls.clear()
    return search
