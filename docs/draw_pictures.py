"""The README's pictures of drawn people, answered by the default model: python docs/draw_pictures.py"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edgefer.luma import luma_of
from edgefer.overlay import annotate
from edgefer.pipeline.stages import open_pipeline
from edgefer.settings import Settings
from edgefer.sources.drawn import BODY_SIDE, BODY_TOP, BOX_SIDE, LEFT, PRESETS, TOP, DrawnFace, Pose, backdrop, paste
from edgefer.sources.synthetic import Scene, SyntheticOptions
from edgefer.types import Frame, Pixels

IMAGES = Path(__file__).with_name("images")
ROOM = (
    (24, 0, 90, 150, "happy"),
    (24, 10, 300, 160, "neutral"),
    (32, -25, 500, 150, "surprise"),
    (32, 0, 720, 165, "sad"),
    (48, 30, 930, 150, "happy"),
    (64, -5, 1150, 165, "angry"),
    (90, -30, 1190, 330, "surprise"),
    (130, 40, 150, 380, "happy"),
    (200, 5, 480, 440, "neutral"),
    (260, -12, 870, 480, "happy"),
)
"""People from the back of a room to its front: width of the face in pixels, roll in degrees, middle of the head, expression."""


def main() -> None:
    """Draw the demonstration and the room, and write both with what edgefer finds in them."""
    demo = Scene(SyntheticOptions(faces=3, size="960x540"))
    for name, frames in {"demo": _frames(demo, 20), "room": iter([room()])}.items():
        pipeline = open_pipeline(Settings(), tracked=name == "demo")
        for index, picture in enumerate(frames):
            observation = pipeline.process(Frame(index, index / 30, luma_of(picture), picture))
        path = IMAGES / f"{name}.jpg"
        cv2.imwrite(str(path), annotate(observation), [cv2.IMWRITE_JPEG_QUALITY, 88])
        print(f"{path}: {', '.join(face.expression for face in observation.faces)}")


def room() -> Pixels:
    """(720, 1280, 3) uint8 BGR: people near and far, upright and leaning."""
    picture = backdrop(1280, 720).copy()
    for index, (width_px, roll_deg, x, y, expression) in enumerate(ROOM):
        unit_px, preset = width_px / BOX_SIDE, list(PRESETS).index(expression)
        face = DrawnFace(index, index % 3, unit_px)
        paste(picture, face.body, (-BODY_SIDE, BODY_TOP), face.body_k, Pose(x, y, unit_px, 0), endless=True)
        head = face.draw(preset, preset, 0.0, PRESETS[expression], 1.0)
        paste(picture, head, (LEFT, TOP), face.k, Pose(x, y, unit_px, math.radians(roll_deg)))
    return picture


def _frames(scene: Scene, count: int) -> Iterator[Pixels]:
    return (np.asarray(scene.draw(index), np.uint8) for index in range(count))


if __name__ == "__main__":
    main()
