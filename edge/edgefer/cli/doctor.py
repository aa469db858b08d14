"""The verb ``doctor``: named checks of an installation, each with the command that fixes it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgefer.cli.checks import board, cameras, configuration, outputs, software
from edgefer.cli.checks.target import Finding, State, Target
from edgefer.machine import version
from edgefer.redact import redact
from edgefer.settings import CONFIG

EXAMPLES = """\
examples:
  edgefer doctor                                  pass, warn or fail, each with its fix; exit status 1 if a check fails
  edgefer doctor --config config.toml --json
  sudo edgefer doctor --bundle                    edgefer-support.zip to attach to a bug report; sudo includes the journal

The bundle holds text: the checks, versions, the configuration, the model's card, the service's unit, state and last journal lines.
Removed from it (…): passwords, tokens, users and queries in addresses, arguments of commands, comments, and everything about faces.
It holds no picture and no history. It does hold names of files, cameras and machines: read it before you send it.
"""


@dataclass(frozen=True, slots=True)
class Check:
    """The named result of a check; ``fix`` is empty if nothing is wrong."""

    name: str
    state: State
    found: str
    fix: str = ""


CHECKS: dict[str, Callable[[Target], Finding]] = {
    "python": software.python,
    "system": software.system,
    "opencv": software.opencv,
    "numpy": software.numpy,
    "runtime": software.runtime,
    "model": software.model,
    "xnnpack": software.xnnpack,
    "libcamera": cameras.libcamera,
    "camera": cameras.camera,
    "memory": board.memory,
    "cma": board.cma,
    "cgroup": board.cgroup,
    "governor": board.governor,
    "temperature": board.temperature,
    "throttling": board.throttling,
    "power": board.power,
    "disk": board.disk,
    "clock": board.clock,
    "config": configuration.config,
    "broker": configuration.broker,
    "outputs": outputs.outputs,
}
"""In the order in which problems should be fixed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``edgefer doctor``."""
    parser.epilog = EXAMPLES
    parser.add_argument("--model", help="the model to check (default: the one of the configuration, else small)")
    parser.add_argument("--config", metavar="FILE", help=f"the configuration to check (default: {CONFIG} if it exists)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the checks as JSON")
    form.add_argument(
        "--bundle", nargs="?", const="edgefer-support.zip", metavar="FILE.zip",
        help="write a file to attach to a bug report instead (default: edgefer-support.zip)",
    )  # fmt: skip


def main(options: argparse.Namespace) -> int:
    """Print every check, or write the bundle; 1 if a check fails."""
    target = Target(options.model or "", Path(options.config) if options.config else None)
    if options.bundle:
        from edgefer.cli.support_bundle import write_bundle

        path = Path(options.bundle)
        write_bundle(path, target)
        print(f"{path.resolve()}: written. It holds no pictures, and secrets were removed; read it before you send it")
        return 0
    checks = examine(target)
    print(as_json(checks) if options.json else as_text(checks))
    return int(any(check.state == "fail" for check in checks))


def examine(target: Target) -> list[Check]:
    """Run every check; none raises, and no result holds a secret."""
    findings = ((name, _guarded(check, target)) for name, check in CHECKS.items())
    return [Check(name, found.state, redact(found.found), redact(found.fix)) for name, found in findings]


def as_text(checks: Sequence[Check]) -> str:
    """For people: one line for each check, and one for its fix."""
    return "\n".join(
        f"{check.state:5} {check.name:11} {check.found}" + (f"\n      {'fix:':11} {check.fix}" if check.fix else "") for check in checks
    )


def as_json(checks: Sequence[Check]) -> str:
    """For programs."""
    # The key is "mend" since 0.1.0: scripts read it.
    rows = [{"name": check.name, "state": check.state, "found": check.found, "mend": check.fix} for check in checks]
    return json.dumps({"version": version(), "checks": rows}, indent=1)


def _guarded(check: Callable[[Target], Finding], target: Target) -> Finding:
    try:
        return check(target)
    except Exception as error:  # on a broken machine the other checks still run
        return Finding("warn", f"could not be checked: {type(error).__name__}: {error}", "report this, with the whole output")
