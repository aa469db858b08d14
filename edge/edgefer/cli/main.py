"""The command line: run, history, report, bench, show, doctor, setup, service, fleet, check-config."""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeAlias

import msgspec

from edgefer.errors import EdgeferError, SettingsError
from edgefer.machine import version
from edgefer.redact import Scrubbed, print_crash, scrub, scrub_crashes
from edgefer.settings import CONFIG, Settings, load_settings

NO_OPENCV = (
    "OpenCV is not installed: on a Raspberry Pi 'sudo apt install python3-opencv' and a venv made with --system-site-packages, "
    "elsewhere 'pip install edgefer[opencv]'"
)

EXAMPLES = """\
examples:
  edgefer run                                     a camera where there is one, else a demonstration
  edgefer run --source opencv:0 --sink display:   the first USB camera in a window; q quits
  edgefer run --source file:clip.mp4 --sink jsonl:-
  edgefer run --source images:photos --sink jsonl:faces.jsonl --sink snapshots:annotated
  edgefer run --sink http://127.0.0.1:8080 --sink history:
                                                  the web page, and a history that outlives the run
  edgefer run --source 'synthetic:?faces=3&seconds=20' --sink 'snapshots:out?every_s=1'
"""

FLEET_EXAMPLES = """\
examples:
  edgefer fleet --broker mqtt://broker.lan                     all devices below edgefer/, live; Ctrl-C ends
  edgefer fleet --broker mqtts://broker.lan/home?login=login   TLS, base home, user:password out of the file "login"
  edgefer fleet --broker mqtt://broker.lan --json              once, for machines
  edgefer fleet --broker mqtt://broker.lan --html fleet.html   a page to send around
"""

DOCTOR = """\
examples:
  edgefer doctor                                  pass, warn or fail, and what mends it; exit status 1 where a check fails
  edgefer doctor --config config.toml --json
  sudo edgefer doctor --bundle                    edgefer-support.zip: text to attach to a bug report; sudo, for the journal

In the bundle: the checks, versions, the configuration, the model's card, the service's unit, state and last lines of its journal.
Passwords, tokens, users and queries in addresses, arguments of commands, comments, and what was said of faces are cut out (…);
no picture and no history is in it. Names of files, cameras and machines are: look through it before you send it.
"""

SETUP = """\
examples:
  sudo edgefer setup                                                  asks
  sudo edgefer setup --source picamera: --sink status: --yes          does not
  edgefer setup --config edgefer.toml --source rtsp://camera/stream   elsewhere than /etc
"""

SERVICE = """\
examples:
  sudo edgefer setup && sudo edgefer service install
  edgefer service status
  edgefer service logs --follow
"""

TIMES = """\
times: 90m, 24h, 7d (ago), now, today, yesterday, 2026-11-25, 2026-11-25T10:30, or seconds since 1970

examples:
  edgefer history                                 the last 24 hours in a few lines
  edgefer history --from today --plot             one line of bars for each expression
  edgefer history --from 7d --bucket 1h --csv > week.csv
  edgefer history --of visits --json              each face: when it came and went, how long it showed what
  edgefer report --from 7d --out week.html        one page to keep or print

The history is that of 'edgefer run --sink history:'.
"""


Verbs: TypeAlias = "argparse._SubParsersAction[_Parser]"


def main(arguments: list[str] | None = None) -> int:
    """The command ``edgefer``; returns the exit status: 0 done, 1 an error said in one line, 2 a wrong flag."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.verb(options) or 0)
    except EdgeferError as error:
        print(f"edgefer: {scrub(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # "| head": nobody wants the rest
        return 0
    except Exception as error:
        if isinstance(error, ImportError) and error.name == "cv2":
            print(f"edgefer: {NO_OPENCV}", file=sys.stderr)
        else:
            print_crash(error)
        return 1
    finally:
        _flush_output()


def _flush_output() -> None:
    """Push out what was printed; a reader that went away ("| head") is no error, but nothing more can be written."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    more: Callable[[], str] | None = None
    """Makes the end of the help, when it is printed."""

    def format_help(self) -> str:
        """The help, with what `more` adds."""
        return super().format_help() + (self.more() if self.more else "")

    def error(self, message: str) -> NoReturn:
        """A wrong flag; an address in the wrong place keeps its password."""
        super().error(scrub(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="edgefer", description="Recognises facial expressions on low-power devices.")
    parser.add_argument("--version", action="version", version=version())
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    for add in (_add_run, _add_bench, _add_history, _add_care, _add_service, _add_fleet):
        add(verbs)
    return parser


def _add_run(verbs: Verbs) -> None:
    run = verbs.add_parser(
        "run", help="look at a source of frames and say what is seen", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    run.set_defaults(verb=_run)
    run.more = _plugs
    _shared(run)
    run.add_argument("--sink", action="append", metavar="SPEC", help="where observations go; may be given more than once")


def _plugs() -> str:
    """Every source, detector and sink with its options; imports them all."""
    from edgefer.detectors import DETECTORS
    from edgefer.plug_help import help_table
    from edgefer.sinks import SINKS
    from edgefer.sources import SOURCES

    tables = {"sources": help_table(SOURCES), "sinks": help_table(SINKS), "detectors (in the configuration)": help_table(DETECTORS)}
    return "".join(f"\n{title}:\n{table}" for title, table in tables.items())


def _add_bench(verbs: Verbs) -> None:
    bench = verbs.add_parser("bench", help="measure frames a second, CPU and memory on this machine")
    bench.set_defaults(verb=_bench)
    _shared(bench)
    bench.add_argument("--frames", type=int, default=300, metavar="N", help="frames to measure, after the warm-up (default 300)")
    bench.add_argument("--json", action="store_true", help="print the figures as JSON")
    bench.add_argument("--markdown", action="store_true", help="print one row of a Markdown table, to share")
    bench.add_argument("--chart", metavar="FILE.png", help="draw the figures as well")
    bench.add_argument("--against", metavar="FILE.json", help="show the difference from figures kept with --json")


def _add_history(verbs: Verbs) -> None:
    history = verbs.add_parser(
        "history", help="what was seen over time", epilog=TIMES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    history.set_defaults(verb=_history)
    _times(history)
    history.add_argument(
        "--of", choices=("minutes", "visits", "changes"), default="minutes", help="which rows CSV and JSON hold (default: minutes)"
    )
    form = history.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print rows for a spreadsheet")
    form.add_argument("--json", action="store_true", help="print them as JSON")
    form.add_argument("--plot", action="store_true", help="draw bars in the terminal")

    report = verbs.add_parser(
        "report", help="the history as one HTML page", epilog=TIMES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    report.set_defaults(verb=_report)
    _times(report)
    report.add_argument(
        "--out", default="edgefer-report.html", metavar="FILE.html", help="the page to write (default: edgefer-report.html)"
    )


def _add_care(verbs: Verbs) -> None:
    show = verbs.add_parser("show", help="what a model file says of itself")
    show.set_defaults(verb=_show)
    show.add_argument(
        "model", nargs="?", default=Settings().model, help="a .tflite or .keras file, or one of edgefer's own models (default: small)"
    )
    show.add_argument("--json", action="store_true", help="print it as JSON")

    doctor = verbs.add_parser(
        "doctor",
        help="check this installation, and say how to mend it",
        epilog=DOCTOR,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    doctor.set_defaults(verb=_doctor)
    doctor.add_argument("--model", help="the model to check (default: the configuration's, else small)")
    doctor.add_argument("--config", metavar="FILE", help=f"the configuration to check (default: {CONFIG}, where it is there)")
    form = doctor.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the checks as JSON")
    form.add_argument(
        "--bundle", nargs="?", const="edgefer-support.zip", metavar="FILE.zip",
        help="write a file to attach to a bug report instead (default: edgefer-support.zip)",
    )  # fmt: skip

    check = verbs.add_parser("check-config", help="check a configuration file without running anything")
    check.set_defaults(verb=_check_config)
    check.add_argument("file", nargs="?", help="the TOML file")
    check.add_argument("--config", metavar="FILE", help="the same")


def _add_service(verbs: Verbs) -> None:
    setup = verbs.add_parser(
        "setup", help="write a configuration by asking, or from flags", epilog=SETUP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    setup.set_defaults(verb=_setup)
    setup.add_argument("--config", metavar="FILE", default=str(CONFIG), help=f"the file to write (default: {CONFIG})")
    setup.add_argument("--source", metavar="SPEC", help="the camera (default: the first one found)")
    setup.add_argument(
        "--sink", action="append", metavar="SPEC", help="where observations go; may be given more than once (default: status:)"
    )
    setup.add_argument("--replace", action="store_true", help="replace a file that is there; it is kept as FILE.old")
    setup.add_argument("--yes", action="store_true", help="ask nothing")

    service = verbs.add_parser(
        "service", help="run as a systemd service", epilog=SERVICE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    service.set_defaults(verb=_service)
    service.add_argument("what", choices=("install", "status", "logs", "uninstall"), help="what to do; install and uninstall need root")
    service.add_argument("--config", metavar="FILE", default=str(CONFIG), help=f"what it shall run by (default: {CONFIG})")
    service.add_argument("--follow", "-f", action="store_true", help="logs: go on with what comes")


def _add_fleet(verbs: Verbs) -> None:
    fleet = verbs.add_parser(
        "fleet", help="all devices of an MQTT broker in one table", epilog=FLEET_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    fleet.set_defaults(verb=_fleet)
    fleet.add_argument("--broker", required=True, metavar="URL", help="mqtt://host[:port][/base][?login=FILE&ca=FILE], mqtts:// for TLS")
    fleet.add_argument("--once", action="store_true", help="print the table once; also what happens without a terminal")
    fleet.add_argument("--json", action="store_true", help="print JSON, once")
    fleet.add_argument("--html", metavar="FILE", help="write the table as a page that needs nothing else, once")
    fleet.add_argument("--serve", metavar="127.0.0.1:PORT", help="show it as a page, to this machine alone, until Ctrl-C")


def _times(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="the history (default: the configuration's, else where 'history:' keeps it)"
    )
    parser.add_argument("--from", dest="begin", default="24h", metavar="TIME", help="the beginning (default: 24h, a day ago)")
    parser.add_argument("--to", dest="end", default="now", metavar="TIME", help="the end (default: now)")
    parser.add_argument("--bucket", metavar="DURATION", help="length of a stretch, such as 1m, 15m, 1h, 1d (default: what fits)")
    parser.add_argument("--config", metavar="FILE", help="the configuration whose history: sink is meant")


def _shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", metavar="SPEC", help="where frames come from (default: a camera, else synthetic:)")
    parser.add_argument("--model", metavar="PATH", help="a .tflite file, or one of edgefer's own models (default: small)")
    parser.add_argument("--config", metavar="FILE", help="settings in TOML; the flags above win over it")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="how much is logged")


def _settings(options: argparse.Namespace) -> Settings:
    """The configuration file with the flags laid over it."""
    settings = load_settings(Path(options.config) if options.config else None)
    flags = {
        "source": options.source,
        "sinks": getattr(options, "sink", None),
        "model": options.model,
        "log_level": options.log_level,
    }
    settings = msgspec.structs.replace(settings, **{key: value for key, value in flags.items() if value is not None})
    _log(settings.log_level)
    return settings


def _log(level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(Scrubbed("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _run(options: argparse.Namespace) -> int:
    settings = _settings(options)
    # Imported here: --help and a wrong flag answer without loading OpenCV.
    from edgefer.cli.run import look

    # Where every thread is, to standard error: on a crash, and for who sends SIGUSR1 to one that hangs.
    if sys.stderr is not None:
        faulthandler.enable()
        faulthandler.register(signal.SIGUSR1)
    scrub_crashes()
    from edgefer.cli.reload import Reload
    from edgefer.sinks.systemd import stopping

    stop = threading.Event()
    reload = Reload(settings, stop, partial(_settings, options), Path(options.config) if options.config else None, _say)
    signal.signal(signal.SIGHUP, lambda *_: reload.ask())
    _on_signal(reload.end)
    try:
        return reload.run(look)
    finally:
        stopping()


def _stop_on_signal() -> threading.Event:
    """Set by Ctrl-C, and by those who end services."""
    stop = threading.Event()
    _on_signal(stop.set)
    return stop


def _on_signal(end: Callable[[], None]) -> None:
    """Have ``end`` called by Ctrl-C, and by those who end services."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end())


def _say(line: str) -> None:
    print(scrub(line), file=sys.stderr, flush=True)


def _history(options: argparse.Namespace) -> int:
    from edgefer.history import export
    from edgefer.history.store import History

    with closing(History(export.history_path(options.file, options.config), "read")) as history:
        asked = export.stretch(options.begin, options.end, options.bucket, most=100)
        if options.csv or options.json:
            print((export.as_csv if options.csv else export.as_json)(history, options.of, asked))
        else:
            print(export.as_plot(history, asked, shutil.get_terminal_size().columns) if options.plot else export.as_table(history, asked))
    return 0


def _report(options: argparse.Namespace) -> int:
    from edgefer.history import export
    from edgefer.history.store import History

    with closing(History(export.history_path(options.file, options.config), "read")) as history:
        export.write_page(history, export.stretch(options.begin, options.end, options.bucket, most=200), Path(options.out))
    print(f"written: {Path(options.out).resolve()}")
    return 0


def _bench(options: argparse.Namespace) -> int:
    settings = _settings(options)
    from edgefer.cli.bench import bench
    from edgefer.cli.bench_report import chart, difference, markdown_row, read_report, table

    against = Path(options.against) if options.against else None
    kept = read_report(against) if against else None
    report = bench(settings, options.frames, version())
    if options.json:
        print(json.dumps(msgspec.to_builtins(report), indent=1))
    else:
        print(markdown_row(report) if options.markdown else table(report))
    if options.chart:
        chart(report, Path(options.chart))
    if kept and against:
        print("\n" + difference(report, kept, against.name), file=sys.stderr if options.json or options.markdown else sys.stdout)
    return 0


def _show(options: argparse.Namespace) -> int:
    from edgefer.model.describe import describe

    facts = describe(options.model)
    if options.json:
        print(json.dumps(facts, indent=1))
        return 0
    for key, value in facts.items():
        if isinstance(value, dict):
            print(f"{key}:")
            for inner, fact in value.items():
                print(f"  {inner:24} {fact}")
        else:
            print(f"{key:10} {', '.join(map(str, value)) if isinstance(value, list) else value}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from edgefer.cli.doctor import Patient, as_json, as_text, examine

    patient = Patient(options.model or "", Path(options.config) if options.config else None)
    if options.bundle:
        from edgefer.cli.support_bundle import write_bundle

        write_bundle(Path(options.bundle), patient)
        print(f"{Path(options.bundle).resolve()}: written. Secrets were cut out, no pictures are in it; look through it before you send it")
        return 0
    checks = examine(patient)
    print(as_json(checks) if options.json else as_text(checks))
    return int(any(check.state == "fail" for check in checks))


def _fleet(options: argparse.Namespace) -> int:
    from edgefer.mqtt.fleet_command import show_fleet

    # A broker that is away is shown in the table itself.
    _log("warning" if options.serve else "error")
    show_fleet(options.broker, options.once, options.json, options.html, options.serve, _stop_on_signal())
    return 0


def _check_config(options: argparse.Namespace) -> int:
    from edgefer.cli.check_config import check_config

    name = options.file or options.config
    if not name:
        print("edgefer: which file? edgefer check-config FILE", file=sys.stderr)
        return 2
    check_config(Path(name))
    print(f"{name}: good")
    return 0


def _setup(options: argparse.Namespace) -> int:
    from edgefer.cli.setup import set_up

    ask = _ask if sys.stdin and sys.stdin.isatty() and not options.yes else None
    set_up(Path(options.config), options.source, options.sink, options.replace, ask, _say)
    return 0


def _ask(question: str, default: str) -> str:
    try:
        return input(f"{question} [{default}] ").strip() or default
    except EOFError:
        raise SettingsError("no answer; nothing was written") from None


def _service(options: argparse.Namespace) -> int:
    from edgefer.cli import service

    if options.what == "status":
        return service.status()
    if options.what == "logs":
        return service.logs(options.follow)
    if options.what == "install":
        service.install(Path(options.config), _say)
    else:
        service.uninstall(_say)
    return 0
