"""The demonstration: what is drawn is what the published models answer."""

from __future__ import annotations

import pytest

from edgefer.luma import luma_of
from edgefer.pipeline.stages import open_pipeline
from edgefer.settings import Settings
from edgefer.sources.drawn import PRESETS
from edgefer.sources.synthetic import BLEND_S, HOLD_S, Scene, SyntheticOptions
from edgefer.types import Frame

FPS, SETTLED_S = 5, 1.5
"""Frames a second here, and seconds after which an expression has been shown alone: the smoother's window is over."""


@pytest.mark.parametrize("model", ["small", "nano"])
def test_model_and_drawing_agree_in_85_percent_of_the_settled_frames_over_all_expressions(model: str) -> None:
    scene, right, frames = Scene(SyntheticOptions(size="320x240", fps=FPS)), dict.fromkeys(PRESETS, 0), dict.fromkeys(PRESETS, 0)
    pipeline = open_pipeline(Settings(model=model))
    since_s, drawn = 0.0, ""
    for index in range(round(len(PRESETS) * (HOLD_S + BLEND_S) * FPS)):
        truth = scene.truth(index)[0].expression
        if truth != drawn:
            since_s, drawn = index / FPS, truth
        faces = pipeline.process(Frame(index, index / FPS, luma_of(scene.draw(index)))).faces
        if index / FPS - since_s >= SETTLED_S:
            frames[drawn] += 1
            right[drawn] += bool(faces) and faces[0].expression == drawn
    assert min(frames.values()) >= 5, f"every expression is shown: {frames}"
    assert sum(right.values()) >= 0.85 * sum(frames.values()), f"{right} of {frames}"
