"""Checks of the software: Python, system, libraries, model."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgefer.cli.checks.cameras import import_picamera2
from edgefer.cli.checks.target import Finding, Target, pip
from edgefer.errors import EdgeferError, MissingLibrary
from edgefer.machine import board

if TYPE_CHECKING:
    from edgefer.model.classifier import Classifier


def python(_: Target) -> Finding:
    """Version and path of this Python."""
    return Finding("pass", f"{sys.version.split()[0]} at {sys.executable}")


def system(target: Target) -> Finding:
    """Whether a TFLite runtime exists for this system. Python's bits count: a 32-bit system often has a 64-bit kernel."""
    release = target.os_release()
    found = f"{release.get('PRETTY_NAME', 'unknown system')}, {target.bits}-bit, {target.machine}, {board(target.root)}"
    if target.machine == "armv6l":
        return Finding("fail", f"{found}: no TFLite runtime exists for ARMv6", "use a Zero 2 W, 3, 4 or 5 with 64-bit Raspberry Pi OS")
    if target.bits == 32:
        old = release.get("VERSION_CODENAME") == "bookworm"
        why = "tflite-runtime, which does not accelerate int8" if old else "no TFLite runtime exists for it"
        return Finding("warn" if old else "fail", f"{found}: {why}", "install the 64-bit Raspberry Pi OS")
    return Finding("pass", found)


def opencv(target: Target) -> Finding:
    """OpenCV 5 has no Haar cascades."""
    fix = "sudo apt install python3-opencv" if target.is_pi else pip("'opencv-python-headless<5'")
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        return Finding("fail", f"cannot be imported: {error}", fix)
    if not hasattr(cv2, "CascadeClassifier"):
        return Finding("fail", f"{cv2.__version__} has no Haar cascades", pip("'opencv-python-headless<5'"))
    return Finding("pass", cv2.__version__)


def numpy(target: Target) -> Finding:
    """The system's picamera2 is built against the system's numpy; its import fails with another major version."""
    numpy = importlib.import_module("numpy")
    found = f"{numpy.__version__} at {Path(numpy.__file__ or '').parent}"
    _, error = import_picamera2()
    if error and ("numpy" in str(error) or "_ARRAY_API" in str(error)):
        return Finding("fail", f"{found}: picamera2 was built against another: {error}", f"{sys.executable} -m pip uninstall -y numpy")
    return Finding("pass", found)


def runtime(_: Target) -> Finding:
    """Which TFLite runtime can be imported."""
    for name in ("ai_edge_litert", "tflite_runtime"):
        try:
            importlib.import_module(f"{name}.interpreter")
        except ImportError:
            continue
        return Finding("pass", name)
    return Finding("fail", "neither ai-edge-litert nor tflite-runtime", pip("ai-edge-litert"))


def model(target: Target) -> Finding:
    """Open the model, which checks digest and card, then compare its answers on the golden pictures with the published ones."""
    import numpy as np

    from edgefer.model.golden import CLOSE, deviation, golden_answers
    from edgefer.update.selftest import check_scores

    try:
        classifier = _classifier(target)
    except MissingLibrary as error:
        return Finding("fail", str(error), pip("ai-edge-litert"))
    except EdgeferError as error:
        mine = "use a file that 'make convert' or 'make own' wrote (docs/models.md), or a model that edgefer ships: small, nano"
        return Finding(
            "fail", str(error), mine if "." in target.model_name() else "git checkout models, or pip install --force-reinstall edgefer"
        )
    found = f"{classifier.path}, sha256 {classifier.sha256[:12]}…"
    answers, off = np.array(golden_answers(classifier)), deviation(classifier)
    reinstall = pip("--force-reinstall ai-edge-litert")
    try:
        check_scores(answers)
    except EdgeferError as error:
        return Finding("fail", f"{found}: {error} on the golden pictures", reinstall)
    if off is None:
        return Finding("pass", f"{found}; it has no published golden answers; its probabilities are valid")
    if off > CLOSE:
        return Finding("fail", f"{found}: {off:.2f} from its golden answers, {CLOSE:g} is allowed: the runtime computes wrongly", reinstall)
    return Finding("pass", f"{found}; within {off:.3f} of its golden answers")


def xnnpack(target: Target) -> Finding:
    """Whether XNNPACK accelerates the model."""
    try:
        accelerated = _classifier(target).accelerated
    except EdgeferError:
        return Finding("warn", "not known: the model does not open", "fix the checks above first")
    if accelerated:
        return Finding("pass", "in use")
    found = "not in use: every answer takes many times as long"
    if target.bits == 32:
        return Finding("warn", f"{found}; tflite-runtime has none for int8", "install the 64-bit Raspberry Pi OS")
    if not target.read("proc/cpuinfo"):
        return Finding("warn", f"{found}; /proc/cpuinfo cannot be read", "remove ProcSubset=pid from the unit: it hides the file")
    return Finding("warn", found, pip("--upgrade ai-edge-litert"))


def _classifier(target: Target) -> Classifier:
    from edgefer.model.classifier import Classifier
    from edgefer.model.store import find_model

    return Classifier(find_model(target.model_name()))
