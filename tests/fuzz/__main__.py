"""``make fuzz``: a number of executions of one target by atheris. Finds are written to the current folder."""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["edgefer"]):
    import targets

if __name__ == "__main__":
    logging.disable()
    name, count = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(targets.seeds(name)):
            Path(corpus, f"seed{number}").write_bytes(seed)
        options = [f"-runs={count}", "-max_len=4096", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *options, f"-artifact_prefix=fuzz-{name}-", corpus], lambda data: targets.attempt(name, data))
        atheris.Fuzz()
