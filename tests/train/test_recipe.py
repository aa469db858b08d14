from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from edgefer.errors import SettingsError
from train.recipe import RECIPES, load_recipe, recipe_names


def test_the_recipes_that_come_with_edgefer_all_load() -> None:
    assert {"report", "small", "tiny"} <= set(recipe_names())
    for name in recipe_names():
        assert load_recipe(name).name == name


def leaves(table: dict[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in table.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


LIKE_ANOTHER = {name for name in recipe_names() if "like" in tomllib.loads((RECIPES / f"{name}.toml").read_text())}


@pytest.mark.parametrize("name", sorted(set(recipe_names()) - LIKE_ANOTHER))
def test_a_recipe_lists_only_what_differs_from_the_base(name: str) -> None:
    base = leaves(tomllib.loads((RECIPES / "base.toml").read_text()))
    differences = leaves(tomllib.loads((RECIPES / f"{name}.toml").read_text()))
    repeated = {key for key, value in differences.items() if base.get(key) == value and type(base.get(key)) is type(value)}
    # The report is written out in full where the point is what the report did.
    assert repeated <= ({"optimizer.weight_decay", "schedule.warmup_epochs"} if name == "report" else set())


@pytest.mark.parametrize("name", sorted(LIKE_ANOTHER))
def test_a_recipe_that_is_like_another_lists_only_what_differs_from_that(name: str) -> None:
    own = tomllib.loads((RECIPES / f"{name}.toml").read_text())
    theirs, whole = (leaves(msgspec.to_builtins(load_recipe(one))) for one in (own.pop("like"), name))
    differences = leaves(own)
    assert {key for key, value in differences.items() if theirs[key] == value} == set()
    assert whole == {**theirs, **differences, "name": name}


@pytest.mark.parametrize(
    ("like", "said"),
    [
        ('"mine"', "recipes are like each other in a circle: mine -> mine"),
        ('"huge"', "no recipe 'huge'; there are compact,"),
        ("3", "key 'like': the name of a recipe is expected"),
    ],
)
def test_a_recipe_like_none_is_one_clear_line(tmp_path: Path, like: str, said: str) -> None:
    (tmp_path / "mine.toml").write_text(f"like = {like}")
    with pytest.raises(SettingsError, match=said):
        load_recipe("mine", tmp_path)


def test_the_report_recipe_is_the_reports_experiment() -> None:
    recipe = load_recipe("report")
    assert (recipe.model.name, recipe.epochs, recipe.batch_size) == ("little_vgg", 25, 32)
    assert (recipe.optimizer.name, recipe.optimizer.learning_rate) == ("adam", 1e-3)
    augment = recipe.augment
    assert (augment.rotation_deg, augment.zoom, augment.shift, augment.flip, augment.fill) == (30, 0.3, 0.4, True, "nearest")


def test_the_digest_tells_recipes_apart_and_is_the_same_twice() -> None:
    assert load_recipe("small").digest() == load_recipe("small").digest()
    changed = msgspec.structs.replace(load_recipe("small"), seed=1)
    assert changed.digest() != load_recipe("small").digest()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch = 3", "unknown key 'epoch'; did you mean 'epochs'?"),
        ("[optimizer]\nname = 'lion'", "key 'optimizer.name'"),
        ("epochs = 0", "key 'epochs': expected `int` >= 1"),
        ("seed = -1", "key 'seed': expected `int` >= 0"),
        ("[augment]\nflip = 1", "key 'augment.flip'"),
    ],
)
def test_a_wrong_recipe_names_the_file_and_the_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as error:
        load_recipe(str(path))
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="no recipe 'huge'; there are compact, deep, graduate, large, nano, report"):
        load_recipe("huge")
