"""The command ``edgefer``: finds the verb's module, runs it, and turns errors into one line and an exit status."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Sequence

from edgefer.cli.parser import Parser
from edgefer.cli.terminal import hold_sighup, open_standard_streams
from edgefer.errors import EdgeferError
from edgefer.machine import version
from edgefer.native_stderr import separate_stderr
from edgefer.redact import print_crash, redact

VERBS = {
    "run": "recognise expressions in a camera, a clip or pictures",
    "history": "show what was seen over time",
    "report": "write the history as one HTML page",
    "bench": "measure frames per second, CPU and memory on this machine",
    "micro": "check a microcontroller on a serial line: the same scores, and how fast",
    "collect": "keep pictures of faces by class, to make your own model of",
    "show": "show the facts in a model file",
    "doctor": "check this installation; each problem comes with its fix",
    "setup": "write a configuration, with questions or from flags",
    "service": "run as a systemd service",
    "fleet": "show all devices of an MQTT broker in one table",
    "check-config": "check a configuration file; nothing is opened",
    "completion": "print a script that completes verbs and options in your shell",
}
"""Verb -> its line of help. Its module in this folder has the verb's name, and declares ``add_arguments`` and ``main``."""

EXAMPLES = """\
first steps:
  edgefer run                                     your camera; drawn faces if there is none
  edgefer run --source images:photos --sink jsonl:-
                                                  every picture of a folder, one line of JSON each
  edgefer run --sink http://127.0.0.1:8080        a web page with the live picture
  edgefer doctor                                  what is wrong here, and how to fix it
  edgefer run --help                              all sources and sinks, with examples
"""

NO_OPENCV = (
    "OpenCV is not installed. Raspberry Pi: 'sudo apt install python3-opencv', and a venv made with --system-site-packages. "
    "Other machines: 'pip install edgefer[opencv]'"
)


OUT_OF_MEMORY = "there is not enough memory, or address space ('ulimit -v' shows its limit); edgefer needs about 1 GB of address space"
_NO_MEMORY = re.compile("failed to map segment|annot allocate memory|annot enable executable stack")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0 done, 1 an error (one line on standard error), 2 a wrong flag."""
    open_standard_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments[:1]) == ["run"]:
        hold_sighup(True)
    separate_stderr()
    if not arguments:
        parser().print_help()
        return 0
    command = parser(arguments)
    options = command.parse_args(arguments)
    if not hasattr(options, "main"):
        command.error("the following arguments are required: VERB")
    try:
        return int(options.main(options))
    except EdgeferError as error:
        print(f"edgefer: {redact(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader is gone: "| head"
        return 0
    except Exception as error:
        if isinstance(error, ImportError) and error.name == "cv2":
            print(f"edgefer: {NO_OPENCV}", file=sys.stderr)
        elif isinstance(error, MemoryError) or (isinstance(error, ImportError | OSError) and _NO_MEMORY.search(str(error))):
            print(f"edgefer: {OUT_OF_MEMORY}", file=sys.stderr)
        else:
            print_crash(error)
        return 1
    finally:
        _flush_output()


def parser(arguments: Sequence[str] = ()) -> Parser:
    """The parser of all verbs; only the verb in ``arguments`` is imported and declares its own arguments."""
    command = Parser(prog="edgefer", description="Recognises facial expressions on low-power devices.", epilog=EXAMPLES)
    command.add_argument("--version", action="version", version=version())
    verbs = command.add_subparsers(title="verbs", metavar="VERB")
    for name, summary in VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name in arguments:
            module = importlib.import_module(f"edgefer.cli.{name.replace('-', '_')}")
            module.add_arguments(verb)
            verb.set_defaults(main=module.main)
    return command


def _flush_output() -> None:
    """Flush standard output and error; if a reader is gone, send the rest nowhere, so that Python's exit does not fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
