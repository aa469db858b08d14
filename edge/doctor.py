"""Named checks of an installation, each with the one command that mends it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edge.errors import EdgeferError, MissingLibrary

State = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; ``mend`` is empty when there is nothing to do."""

    name: str
    state: State
    found: str
    mend: str = ""


def examine(model: str) -> list[Check]:
    """Every check, in the order in which one would mend them; none of them raises."""
    return [check(model) for check in CHECKS]


def _python(_: str) -> Check:
    found = f"{sys.version.split()[0]} at {sys.executable}"
    return Check("python", "pass", found)


def _opencv(_: str) -> Check:
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        return Check("opencv", "fail", f"cannot be imported: {error}", "pip install 'opencv-python-headless<5'")
    if not hasattr(cv2, "CascadeClassifier"):
        return Check("opencv", "fail", f"{cv2.__version__} has no Haar cascades", "pip install 'opencv-python-headless<5'")
    return Check("opencv", "pass", cv2.__version__)


def _runtime(_: str) -> Check:
    for name in ("ai_edge_litert", "tflite_runtime"):
        try:
            importlib.import_module(f"{name}.interpreter")
        except ImportError:
            continue
        return Check("runtime", "pass", name)
    return Check("runtime", "fail", "neither ai-edge-litert nor tflite-runtime", "pip install ai-edge-litert")


def _model(model: str) -> Check:
    from edge.classify import Classifier
    from edge.selftest import check_scores
    from edge.store import find_model

    try:
        classifier = Classifier(find_model(model))
    except MissingLibrary as error:
        return Check("model", "fail", str(error), "pip install ai-edge-litert")
    except EdgeferError as error:
        return Check("model", "fail", str(error), "git checkout models, or pip install --force-reinstall edgefer")
    card = classifier.card
    scores = classifier(np.zeros((1, card.input.height_px, card.input.width_px), np.uint8))
    try:
        check_scores(scores)
    except EdgeferError as error:
        return Check("model", "fail", f"{classifier.path}: {error}", "pip install --upgrade ai-edge-litert")
    return Check("model", "pass", f"{classifier.path}, sha256 {classifier.sha256[:12]}…, self-test done")


def _xnnpack(model: str) -> Check:
    from edge.classify import Classifier
    from edge.store import find_model

    try:
        accelerated = Classifier(find_model(model)).accelerated
    except EdgeferError:
        return Check("xnnpack", "warn", "not known: the model does not open")
    if accelerated:
        return Check("xnnpack", "pass", "in use")
    mend = "pip install ai-edge-litert, and let it read /proc/cpuinfo"
    return Check("xnnpack", "warn", "not in use: every answer takes many times as long", mend)


def _camera(_: str) -> Check:
    devices = sorted(map(str, Path("/dev").glob("video*")))
    if any(os.access(device, os.R_OK | os.W_OK) for device in devices):
        return Check("camera", "pass", ", ".join(devices))
    if devices:
        return Check("camera", "fail", f"no permission for {', '.join(devices)}", "sudo usermod -aG video $USER, then log in again")
    return Check("camera", "warn", "none: no /dev/video*; edgefer runs its synthetic demonstration", "rpicam-hello --list-cameras")


CHECKS: tuple[Callable[[str], Check], ...] = (_python, _opencv, _runtime, _model, _xnnpack, _camera)
