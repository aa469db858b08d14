"""Facial expressions on low-power devices: frames in, faces with their expressions out.

A photograph:

>>> import edgefer
>>> for face in edgefer.photo("face.png"):
...     print(face.expression, f"{face.score:.0%}")
happy 85%

A camera, a clip or a stream:

>>> with edgefer.camera("synthetic:?seconds=1") as observations:
...     for observation in observations:
...         for face in observation.faces:
...             print(face.track, face.expression)
1 happy
1 happy
...

Names are imported on first use, so that ``import edgefer`` loads neither OpenCV nor NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgefer.api import camera, photo
    from edgefer.errors import EdgeferError
    from edgefer.model.classifier import Classifier
    from edgefer.pipeline.stages import open_pipeline
    from edgefer.settings import Settings
    from edgefer.sources import open_source
    from edgefer.types import Box, Face, Frame, Observation

    __version__: str

__all__ = [
    "Box",
    "Classifier",
    "EdgeferError",
    "Face",
    "Frame",
    "Observation",
    "Settings",
    "camera",
    "open_pipeline",
    "open_source",
    "photo",
]

_MODULES = {
    "api": ("camera", "photo"),
    "errors": ("EdgeferError",),
    "model.classifier": ("Classifier",),
    "pipeline.stages": ("open_pipeline",),
    "settings": ("Settings",),
    "sources": ("open_source",),
    "types": ("Box", "Face", "Frame", "Observation"),
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name on first use, see PEP 562."""
        if name == "__version__":
            from edgefer.machine import version

            return version()
        for module, names in _MODULES.items():
            if name in names:
                return getattr(importlib.import_module(f"edgefer.{module}"), name)
        raise AttributeError(f"module 'edgefer' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, "__version__"})
