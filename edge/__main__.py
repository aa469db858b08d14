"""The command line: run, history, report, bench, show, doctor, check-config."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import signal
import sys
import threading
from contextlib import ExitStack, closing
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from edge.errors import EdgeferError, SettingsError
from edge.settings import Settings, load_settings

NOTICE = "An expression is not an emotion. Inferring emotions at work or in education is forbidden in the EU (AI Act, Art. 5(1)(f))."

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

sources: picamera:[?width=640&height=480&fps=30&rotation=180]  opencv:N[?width=..&height=..&fps=..&fourcc=MJPG]
         file:PATH  rtsp://…  http://…  images:DIR  synthetic:[?faces=1&size=640x480&fps=30&seconds=60]
sinks:   status:  jsonl:PATH  jsonl:-  display:  snapshots:DIR[?every_s=5&keep=1000]
         http://127.0.0.1:8080[?show=pictures|pixelated|faces|totals&token_file=FILE]  history:[PATH][?keep_days=365&max_mb=200]
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


def main(arguments: list[str] | None = None) -> int:
    """The command ``edgefer``; returns the exit status: 0 done, 1 an error said in one line, 2 a wrong flag."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.verb(options) or 0)
    except EdgeferError as error:
        print(f"edgefer: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # "| head": nobody wants the rest
        return 0
    except ImportError as error:
        if error.name != "cv2":
            raise
        print(f"edgefer: {NO_OPENCV}", file=sys.stderr)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgefer", description="Recognises facial expressions on low-power devices.")
    parser.add_argument("--version", action="version", version=_version())
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    run = verbs.add_parser(
        "run", help="look at a source of frames and say what is seen", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    run.set_defaults(verb=_run)
    _shared(run)
    run.add_argument("--sink", action="append", metavar="SPEC", help="where observations go; may be given more than once")

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

    bench = verbs.add_parser("bench", help="measure frames a second, CPU and memory on this machine")
    bench.set_defaults(verb=_bench)
    _shared(bench)
    bench.add_argument("--frames", type=int, default=300, metavar="N", help="frames to measure, after the warm-up (default 300)")
    bench.add_argument("--json", action="store_true", help="print the figures as JSON")
    bench.add_argument("--markdown", action="store_true", help="print one row of a Markdown table, to share")
    bench.add_argument("--chart", metavar="FILE.png", help="draw the figures as well")
    bench.add_argument("--against", metavar="FILE.json", help="show the difference from figures kept with --json")

    show = verbs.add_parser("show", help="what a model file says of itself")
    show.set_defaults(verb=_show)
    show.add_argument(
        "model", nargs="?", default=Settings().model, help="a .tflite or .keras file, or one of edgefer's own models (default: small)"
    )
    show.add_argument("--json", action="store_true", help="print it as JSON")

    doctor = verbs.add_parser("doctor", help="check this installation, and say how to mend it")
    doctor.set_defaults(verb=_doctor)
    doctor.add_argument("--model", default=Settings().model, help="the model to check (default: small)")
    doctor.add_argument("--json", action="store_true", help="print the checks as JSON")

    check = verbs.add_parser("check-config", help="check a configuration file without running anything")
    check.set_defaults(verb=_check_config)
    check.add_argument("file", nargs="?", help="the TOML file")
    check.add_argument("--config", metavar="FILE", help="the same")
    return parser


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
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", force=True)
    return settings


def _run(options: argparse.Namespace) -> int:
    settings = _settings(options)
    # Imported here: --help and a wrong flag answer without loading OpenCV.
    from edge.pace import Pace
    from edge.pipeline import open_pipeline, run
    from edge.show import facts_of
    from edge.sinks import About, Background, Sink, begin, close_all, open_sink
    from edge.sinks.snapshots import Snapshots
    from edge.sources import open_source, pick_source

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    specs = list(settings.sinks) or ["status:", "snapshots:snapshots"]
    if sys.stderr.isatty() and "status:" not in specs and not (sys.stdout.isatty() and "jsonl:-" in specs):
        specs.append("status:")
    folders: list[str] = []
    images_leave = False
    with ExitStack() as stack:
        pipeline = open_pipeline(settings)
        source = open_source(settings.source or pick_source(_say))
        stack.callback(source.close)
        sinks: list[Sink] = []
        stack.callback(close_all, sinks)
        for spec in specs:
            sink = open_sink(spec)
            sinks.append(sink if sink.main_thread else Background(sink, spec, stop, lossless=not source.live))
            if isinstance(sink, Snapshots):
                folders.append(str(sink.folder.resolve()))
            images_leave |= getattr(sink, "images_leave", False)
        _say(f"{NOTICE} {'Who holds the token sees images.' if images_leave else 'No image leaves this machine.'}")
        _say(f"source: {source.description}; model: {pipeline.classifier.path}")
        if folders:
            _say(f"annotated pictures: {', '.join(folders)}")
        about = About(_version(), source.description, lambda: facts_of(pipeline.classifier), sinks)
        for said in begin(sinks, about):
            _say(said)
        summary = run(source, pipeline, sinks, stop, settings.source_timeout_s, Pace(settings.pace))
    _say(str(summary))
    background = [sink for sink in sinks if isinstance(sink, Background)]
    for complaint in filter(None, (sink.complaint() for sink in background)):
        _say(complaint)
    return int(any(sink.failed for sink in background))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _history(options: argparse.Namespace) -> int:
    from edge import report
    from edge.history import History

    with closing(History(report.history_path(options.file, options.config), "read")) as history:
        asked = report.stretch(options.begin, options.end, options.bucket, most=100)
        if options.csv or options.json:
            print((report.as_csv if options.csv else report.as_json)(history, options.of, asked))
        else:
            print(report.as_plot(history, asked, shutil.get_terminal_size().columns) if options.plot else report.as_table(history, asked))
    return 0


def _report(options: argparse.Namespace) -> int:
    from edge import report
    from edge.history import History

    with closing(History(report.history_path(options.file, options.config), "read")) as history:
        report.write_page(history, report.stretch(options.begin, options.end, options.bucket, most=200), Path(options.out))
    print(f"written: {Path(options.out).resolve()}")
    return 0


def _bench(options: argparse.Namespace) -> int:
    settings = _settings(options)
    from edge.bench import bench
    from edge.scoreboard import chart, difference, markdown_row, read_report, table

    against = Path(options.against) if options.against else None
    kept = read_report(against) if against else None
    report = bench(settings, options.frames, _version())
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
    from edge.show import describe

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
    from edge.doctor import examine

    checks = examine(options.model)
    if options.json:
        print(json.dumps({"version": _version(), "checks": [asdict(check) for check in checks]}, indent=1))
    else:
        for check in checks:
            print(f"{check.state:5} {check.name:8} {check.found}" + (f"\n      mend:    {check.mend}" if check.mend else ""))
    return int(any(check.state == "fail" for check in checks))


def _check_config(options: argparse.Namespace) -> int:
    from edge.card import read_card
    from edge.detectors import DETECTORS
    from edge.plug import parse_spec, resolve
    from edge.sinks import SINKS
    from edge.sources import SOURCES
    from edge.store import find_model

    name = options.file or options.config
    if not name:
        print("edgefer: which file? edgefer check-config FILE", file=sys.stderr)
        return 2
    settings = load_settings(Path(name))
    try:
        if settings.source:
            resolve(SOURCES, parse_spec(settings.source).scheme, "source")
        for spec in settings.sinks:
            sink = parse_spec(spec)
            getattr(resolve(SINKS, sink.scheme, "sink"), "check", lambda _: None)(sink)
        resolve(DETECTORS, settings.detector.name, "detector")
        read_card(find_model(settings.model))
    except EdgeferError as error:
        raise SettingsError(f"{name}: {error}") from None
    print(f"{name}: good")
    return 0


def _version() -> str:
    try:
        return version("edgefer")
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
