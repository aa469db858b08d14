"""A recipe: all settings of a training run, as TOML that lists the differences from ``base.toml`` or from the recipe it is ``like``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgefer.errors import SettingsError
from edgefer.settings import checked, read_toml

RECIPES = Path(__file__).parent / "recipes"
MODELS = Path(__file__).parent.parent / "models"
"""The models that `convert.publish` publishes."""

Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[float, Meta(ge=0)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of a recipe: an unknown key is an error."""


class Model(Section, frozen=True):
    """Which network, and how wide and deep; see `train.model`."""

    name: str
    channels: Annotated[list[Positive], Meta(min_length=2)]
    blocks: Annotated[list[Positive], Meta(min_length=1)]
    dropout: Share
    frozen: str
    frozen_views: Annotated[int, Meta(ge=0)]
    half: bool
    features: Annotated[int, Meta(ge=0)]


class Optimizer(Section, frozen=True):
    """How the weights are updated."""

    name: Literal["sgd", "adam", "adamw"]
    learning_rate: Annotated[float, Meta(gt=0)]
    weight_decay: NotNegative
    ema: Annotated[float, Meta(ge=0, lt=1)]


class Schedule(Section, frozen=True):
    """How the learning rate changes."""

    name: Literal["cosine", "plateau"]
    warmup_epochs: NotNegative
    factor: Annotated[float, Meta(gt=0, lt=1)]
    patience_epochs: Positive


class Augment(Section, frozen=True):
    """How each picture is varied; every range is plus or minus."""

    rotation_deg: Annotated[float, Meta(ge=0, le=180)]
    shear_deg: Annotated[float, Meta(ge=0, le=60)]
    zoom: Annotated[float, Meta(ge=0, lt=1)]
    shift: Annotated[float, Meta(ge=0, lt=1)]
    flip: bool
    fill: Literal["nearest", "reflect"]
    brightness: Share
    contrast: Share
    erase: Share
    blur: Share
    noise: Annotated[float, Meta(ge=0, le=64)]


class Prior(Section, frozen=True):
    """Which class prior the probabilities assume; see `edgefer.model.prior`."""

    tau: Annotated[float, Meta(ge=0, le=2)]


class Gate(Section, frozen=True):
    """What `python -m convert` allows the int8 file of this recipe to lose."""

    max_loss_points: NotNegative
    min_agreement: Share
    reason: str


class Distill(Section, frozen=True):
    """Learning from trained networks (Hinton et al. 2015); see `train.distill`."""

    teachers: list[str]
    share: Share
    views: Positive
    unlabelled: Annotated[float, Meta(ge=0, lt=1)]


class Recipe(Section, frozen=True):
    """A whole training run; the fields are explained in ``recipes/base.toml``."""

    labels: Annotated[list[str], Meta(min_length=2)]
    epochs: Positive
    batch_size: Positive
    seed: Annotated[int, Meta(ge=0)]
    start: str
    pretrained: Literal["", "faces"]
    precision: Literal["float32", "mixed_bfloat16"]
    label_smoothing: Share
    ferplus: Share
    mixup: NotNegative
    monitor: Literal["val_accuracy", "val_loss", "last"]
    early_stop_epochs: Annotated[int, Meta(ge=0)]
    model: Model
    optimizer: Optimizer
    schedule: Schedule
    augment: Augment
    distill: Distill
    prior: Prior
    gate: Gate
    name: str

    def builds_on(self) -> list[str]:
        """Names of the recipes whose models this one needs."""
        return [*([self.start] if self.start else []), *self.distill.teachers]

    def digest(self) -> str:
        """sha256 over every value."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


def load_recipe(name_or_path: str, near: Path = RECIPES) -> Recipe:
    """The recipe of that name in the folder ``near`` or in ``train/recipes``, or in a TOML file at that path.

    Raises `SettingsError` for an unknown name, an unknown key or a value out of range.
    """
    path = _path(name_or_path, near)
    return checked({"name": path.stem, **_written_out(path, near)}, Recipe, str(path))


def _path(name_or_path: str, near: Path) -> Path:
    """The file of a recipe; raises `SettingsError` for an unknown name."""
    path = Path(name_or_path)
    if path.suffix == ".toml":
        return path
    for folder in (near, RECIPES):
        if (path := folder / f"{name_or_path}.toml").is_file():
            return path
    raise SettingsError(f"no recipe {name_or_path!r}; there are {', '.join(recipe_names())}, or give a .toml file")


def _written_out(path: Path, near: Path, wanted_by: tuple[Path, ...] = ()) -> dict[str, object]:
    """All values of a recipe: its own, over those of the recipe it is ``like``, over the base."""
    if path in wanted_by:
        raise SettingsError(f"{path}: recipes are like each other in a circle: {' -> '.join(p.stem for p in (*wanted_by, path))}")
    over = read_toml(path)
    like = over.pop("like", "")
    if not isinstance(like, str):
        raise SettingsError(f"{path}: key 'like': the name of a recipe is expected, or a .toml file; found {like!r}")
    below = _written_out(_path(like, near), near, (*wanted_by, path)) if like else read_toml(RECIPES / "base.toml")
    return _merge(below, over)


def recipe_names() -> list[str]:
    """Names of the recipes that come with edgefer."""
    return sorted(path.stem for path in RECIPES.glob("*.toml") if path.stem != "base")


def _merge(base: dict[str, object], over: dict[str, object]) -> dict[str, object]:
    """``over`` laid on ``base``, table by table."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
