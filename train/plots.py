"""Charts of a training run: curves, confusion matrix, worst mistakes, calibration, coverage, robustness."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure

from edgefer.lettering import by_fontconfig
from edgefer.types import Pixels, Scores
from train.metrics import Classes, Figures, calibration_error, coverage_curve, reliability

if TYPE_CHECKING:
    from train.fit import Epoch  # loads Keras


def curves(history: list[Epoch], best: int, title: str, path: Path) -> None:
    """Accuracy in per cent and cross-entropy by epoch, training and validation, with the chosen epoch marked."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    epochs = np.arange(1, len(history) + 1)
    for panel, name, unit, factor in zip(panels, ("accuracy", "loss"), ("accuracy, %", "cross-entropy, nats"), (100, 1), strict=True):
        for series, label in ((name, "training (augmented)"), (f"val_{name}", "validation")):
            panel.plot(epochs, [factor * epoch[series] for epoch in history], marker="." if len(epochs) < 30 else "", label=label)
        panel.axvline(best + 1, color="grey", linestyle=":", label=f"chosen: epoch {best + 1}")
        panel.set(xlabel="epoch", ylabel=unit)
        panel.grid(alpha=0.3)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.legend()
    figure.suptitle(title)
    _save(figure, path)


def confusion(figures: Figures, labels: tuple[str, ...], title: str, path: Path) -> None:
    """Share of each label's pictures that get each answer, in per cent: each row sums to 100."""
    shares = 100 * figures.confusion / np.maximum(figures.confusion.sum(axis=1, keepdims=True), 1)
    figure, panel = plt.subplots(figsize=(7.4, 5.8), layout="constrained")
    drawn = panel.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(drawn, ax=panel, shrink=0.8, label="share of the label's pictures, %")
    panel.set_xticks(range(len(labels)), labels, rotation=30)
    panel.set_yticks(range(len(labels)), labels)
    panel.set(xlabel="answer", ylabel="original label", title=title)
    for row, column in np.ndindex(shares.shape):
        colour = "white" if shares[row, column] > 50 else "black"
        panel.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", color=colour)
    _save(figure, path)


def mistakes(images: Pixels, scores: Scores, truth: Classes, labels: tuple[str, ...], path: Path) -> None:
    """The 40 pictures with the highest probability of a wrong answer, by the original label.

    Shows pictures of the dataset: do not publish it.
    """
    answers = scores.argmax(axis=1)
    wrong = np.flatnonzero(answers != truth)
    worst = wrong[np.argsort(-scores[wrong].max(axis=1))][:40]
    figure, panels = plt.subplots(5, 8, figsize=(11, 8.4), layout="constrained")
    for panel in panels.flat:
        panel.axis("off")
    for panel, index in zip(panels.flat, worst, strict=False):
        panel.imshow(images[index], cmap="gray", vmin=0, vmax=255)
        sure = 100 * scores[index].max()
        panel.set_title(f"{labels[answers[index]]} {sure:.0f} %\nlabel: {labels[truth[index]]}", fontsize=8)
    figure.suptitle("Surest mistakes: answer above, original label below")
    _save(figure, path)


def reliability_diagram(scores: Scores, truth: Classes, title: str, path: Path) -> None:
    """Accuracy of the answers by confidence; bars show the share of answers."""
    confidence, accuracy, count = reliability(scores, truth)
    figure, panel = plt.subplots(figsize=(6, 5), layout="constrained")
    panel.bar(
        (np.arange(len(count)) + 0.5) / len(count), count / count.sum(), width=0.9 / len(count), color="lightgrey", label="share of answers"
    )
    panel.plot([0, 1], [0, 1], color="grey", linestyle=":", label="perfect calibration")
    panel.plot(confidence, accuracy, marker="o", label=f"accuracy (ECE {calibration_error(scores, truth):.3f})")
    panel.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title=title)
    panel.grid(alpha=0.3)
    panel.legend()
    _save(figure, path)


def coverage(scores: Scores, truth: Classes, chosen: float, title: str, path: Path) -> None:
    """Share of faces answered and accuracy of those answers, by the threshold below which the answer is "uncertain"."""
    thresholds, answered, right = coverage_curve(scores, truth)
    at = round(100 * chosen)
    figure, panel = plt.subplots(figsize=(6, 5), layout="constrained")
    panel.plot(thresholds, right, label="accuracy of the answers given")
    panel.plot(thresholds, answered, label="share of faces answered")
    panel.axvline(chosen, color="grey", linestyle=":", label=f"chosen: {chosen:.2f}")
    above = right[at] >= answered[at]
    for series, up in ((right, above), (answered, not above)):
        # Boxed, and on the outer side of the two lines, so that no line runs through the text.
        panel.annotate(
            f"{100 * series[at]:.0f} %",
            (chosen, series[at]),
            textcoords="offset points",
            xytext=(8, 12 if up else -12),
            va="bottom" if up else "top",
            bbox={"fc": "white", "ec": "none", "pad": 1},
        )
    panel.set(xlabel='"uncertain" below this probability', ylabel="share", xlim=(0, 1), ylim=(0, 1.02), title=title)
    panel.grid(alpha=0.3)
    panel.legend(loc="lower left")
    _save(figure, path)


def robustness_chart(of: Mapping[str, Mapping[str, float]], title: str, path: Path) -> None:
    """Accuracy under each variation of `train.robustness`: one row per variation, one colour per file."""
    names = list(next(iter(of.values())))
    figure, panel = plt.subplots(figsize=(8, 0.32 * len(names) + 1.4), layout="constrained")
    rows = np.arange(len(names))[::-1]
    for marker, (file, found) in zip("os^Dv", of.items(), strict=False):
        panel.plot([100 * found[name] for name in names], rows, marker, markersize=6, alpha=0.75, label=file)
    panel.set_yticks(rows, names)
    panel.set(xlabel="accuracy, %", title=title)
    panel.grid(alpha=0.3)
    panel.legend(loc="lower left")
    _save(figure, path)


def use_font_for(text: str) -> None:
    """Draw labels with a font of the system that has the letters of ``text``, where matplotlib's own lacks some."""
    for file, _ in [] if text.isascii() else by_fontconfig(text):
        with suppress(OSError, RuntimeError):  # a kind of font that matplotlib cannot read
            font_manager.fontManager.addfont(file)
            plt.rcParams["font.family"] = ["DejaVu Sans", font_manager.FontProperties(fname=file).get_name()]


def _save(figure: Figure, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # drawn as boxes
        figure.savefig(path, dpi=110)
    plt.close(figure)


def tiles(rows: list[tuple[str, Pixels]], most: int, path: Path) -> None:
    """Rows of grey pictures (n, H, W) uint8, two lines of them a row, ``most`` at most, under its title. Shows pictures of the dataset."""
    across = most // 2
    figure, panels = plt.subplots(len(rows), 1, figsize=(11, 1.9 * len(rows)), layout="constrained", squeeze=False)
    for panel, (title, pictures) in zip(panels[:, 0], rows, strict=True):
        panel.axis("off")
        panel.set_title(title, loc="left", fontsize=9)
        if not len(pictures):
            continue
        height, width = pictures.shape[1:]
        canvas = np.full((2 * height, across * width), 255, np.uint8)
        for index, picture in enumerate(pictures[:most]):
            y, x = divmod(index, across)
            canvas[y * height : (y + 1) * height, x * width : (x + 1) * width] = picture
        panel.imshow(canvas, cmap="gray", vmin=0, vmax=255)
    _save(figure, path)
