"""What a conversion may lose is decided by the recipe that the model was trained by."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from command import in_process

from convert.__main__ import main


def test_the_gate_of_the_recipe_is_used_and_its_reason_printed(toy_run: Path, tmp_path: Path) -> None:
    source = Path(shutil.copy(toy_run / "toy_recipe.keras", tmp_path))
    run = json.loads((toy_run / "run.json").read_text())
    assert run["gate"]["max_loss_points"] == 1, "the gate of base.toml"
    run["gate"] = {"max_loss_points": 50, "min_agreement": 0.1, "reason": "a network for a test"}
    (tmp_path / "run.json").write_text(json.dumps(run))
    done = in_process(main, source)
    assert done.returncode == 0, done.stderr
    assert "50 points" in done.stdout and "a network for a test" in done.stdout
