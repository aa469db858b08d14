"""How plugs are declared and found: edgefer's own, and those of a package that lies on the path as pip leaves it."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Run, one_line

from edgefer import builtin
from edgefer.detectors import DETECTORS, Detector
from edgefer.errors import EdgeferError, MissingLibrary, SettingsError, SourceError
from edgefer.options import options_of
from edgefer.output import Sink
from edgefer.plug import Form, Plug, Registry
from edgefer.plug_help import help_table, markdown_table
from edgefer.redact import redact, redact_url
from edgefer.sinks import SINKS
from edgefer.sources import SOURCES, Source

KINDS = {
    "source": (SOURCES, Source, builtin.SOURCES),
    "detector": (DETECTORS, Detector, builtin.DETECTORS),
    "sink": (SINKS, Sink, builtin.SINKS),
}
SHIPPED = [(kind, beginning) for kind, (*_, table) in KINDS.items() for beginning in table]


@pytest.fixture(params=SHIPPED, ids=[f"{kind} {beginning}" for kind, beginning in SHIPPED])
def shipped(request: pytest.FixtureRequest) -> tuple[type[Plug], type[Plug], str]:
    """A class, the base class of its kind, and how its specs begin."""
    kind, beginning = request.param
    registry, base, _ = KINDS[kind]
    try:
        return registry.find(Form(beginning).scheme), base, beginning
    except MissingLibrary as error:
        pytest.skip(str(error))


def misspelt(plug: type[Plug], base: type[Plug]) -> list[str]:
    """Public names of a class that are nearly those of a hook."""
    names = [name for name in vars(plug) if not name.startswith("_") and name not in dir(base)]
    return [name for name in names if difflib.get_close_matches(name, dir(base), n=1, cutoff=0.75)]


def test_every_plug_is_a_subclass_whose_forms_are_those_of_the_table(shipped: tuple[type[Plug], type[Plug], str]) -> None:
    plug, base, beginning = shipped
    assert issubclass(plug, base)
    assert not inspect.isabstract(plug)
    assert any(form.startswith(beginning) for form in plug.forms)
    table = KINDS[base.kind][2]
    assert all(any(form.startswith(known) for known in table) for form in plug.forms)


def test_every_plug_and_every_option_says_what_it_is_in_one_line(shipped: tuple[type[Plug], type[Plug], str]) -> None:
    plug, _, _ = shipped
    first, _, rest = (plug.__doc__ or "").partition("\n")
    assert first.endswith((".", "8080."))
    assert not rest or rest.startswith("\n")
    for option in options_of(plug.options):
        assert option.help.endswith("."), option


def test_no_hook_is_misspelt(shipped: tuple[type[Plug], type[Plug], str]) -> None:
    plug, base, _ = shipped
    assert misspelt(plug, base) == []


def test_a_misspelt_hook_is_noticed() -> None:
    class Wrong(Sink):
        def beginn(self) -> str:
            return ""

        def camara(self) -> None: ...

    assert misspelt(Wrong, Sink) == ["beginn", "camara"]


def test_a_spec_that_stays_on_this_machine_is_shown_and_an_address_is_cut(shipped: tuple[type[Plug], type[Plug], str]) -> None:
    plug, base, _ = shipped
    for form in map(Form, plug.forms):
        address = f"{form.scheme}:/home/me@work" if not form.network else f"{form.scheme}:/me@host"
        assert (redact_url(address) == address) == (not form.network)
        if base is not Detector:
            assert (redact(f"{address}: no") == f"{address}: no") == (not form.network)


@pytest.mark.parametrize("kind", KINDS)
def test_help_and_table_name_every_form_and_every_option(kind: str) -> None:
    registry, _, _ = KINDS[kind]
    for text in (help_table(registry), markdown_table(registry)):
        for scheme in registry:
            try:
                plug = registry.find(scheme)
            except MissingLibrary as error:
                assert str(error) in text
                continue
            assert all(form in text for form in plug.forms)
            assert all(option.name in text and option.help.replace("``", "`") in text for option in options_of(plug.options))


MODULE = '''
from edgefer.options import Secret
from edgefer.settings import Table
from edgefer.sources import Source
from edgefer.types import Frame

class Options(Table, frozen=True):
    pin: Secret = ""
    """Number to unlock it."""
    fail: str = ""
    """Where it fails."""

class Lens(Source):
    """A camera behind glass."""
    forms = ("lens:DIR", "glass://host")
    options = Options
    def __init__(self, spec):
        self.fail = spec.read(Options).fail
        if self.fail == "open":
            raise ValueError(f"no\\nglass")
    @classmethod
    def check(cls, spec):
        super().check(spec)
        if spec.read(Options).fail == "check":
            raise ValueError("no check")
    def __iter__(self):
        if self.fail == "iter":
            raise ValueError("no frame")
        return iter(())
    def close(self): ...

class Half(Source):
    forms = ("half:",)
    def close(self): ...

class Other(Lens):
    forms = ("other:",)

def not_a_class(spec): ...
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A package as pip leaves it: a module and its metadata, on the path of this process and of those it starts."""

    def put(name: str, points: dict[str, str], module: str = MODULE) -> Path:
        site = tmp_path / f"site-{name}"
        info = site / f"{name}-1.5.dist-info"
        info.mkdir(parents=True)
        (site / f"{name}.py").write_text(module)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        lines = "".join(f"{scheme} = {name}:{path}\n" for scheme, path in points.items())
        (info / "entry_points.txt").write_text(f"[edgefer.sources]\n{lines}")
        monkeypatch.syspath_prepend(str(site))
        return site

    return put


def sources() -> Registry[Source]:
    """As a new process has it."""
    return Registry("source", builtin.SOURCES)


def test_a_published_source_is_found_listed_and_opened(install: Callable[..., Path], tmp_path: Path) -> None:
    install("pane_one", {"lens": "Lens", "glass": "Lens"})
    registry = sources()
    assert {"lens", "glass", "file"} <= set(registry)
    source = registry.open(f"lens:{tmp_path}")
    assert (type(source).__name__, source.package) == ("Lens", "pane_one 1.5")
    assert "package pane_one 1.5" in help_table(registry)
    with pytest.raises(SourceError, match="no folder given; write lens:DIR"):
        registry.check("lens:")
    with pytest.raises(SettingsError, match="did you mean 'pin'"):
        registry.check("lens:x?pim=3")


def test_a_published_plug_says_what_of_its_spec_is_secret(install: Callable[..., Path]) -> None:
    install("pane_two", {"lens": "Lens", "glass": "Lens"})
    _, spec = sources().read("lens:/home/me@work?pin=1234")
    assert str(spec) == "lens:/home/me@work?pin=…"
    assert redact("opened lens:/home/me@work?pin=1234&fail=x twice") == "opened lens:/home/me@work?pin=…&fail=x twice"
    _, spec = sources().read("glass://me:secret@host?pin=1234")
    assert str(spec) == "glass://…@host?…"
    with pytest.raises(SettingsError, match="not a camera's address; write glass://host") as raised:
        sources().read("glass://me:se?cret@host")
    assert "cret" not in str(raised.value).replace("secret", "")


@pytest.mark.parametrize(
    ("points", "module", "said"),
    [
        ({"lens": "Lens"}, "import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ({"lens": "Lens"}, "def broken(:", "SyntaxError"),
        ({"lens": "Lens"}, "raise SystemError('two\\nlines')", "SystemError: two lines"),
        ({"lens": "Missing"}, MODULE, "has no attribute 'Missing'"),
        ({"lens": "not_a_class"}, MODULE, "is no subclass of edgefer's Source"),
        ({"lens": "Half"}, MODULE, "has no __iter__"),
        ({"lens": "Other"}, MODULE, "has no form that begins with 'lens'"),
    ],
)
def test_a_broken_package_is_one_line_that_names_it_and_harms_no_other(
    install: Callable[..., Path], points: dict[str, str], module: str, said: str, tmp_path: Path
) -> None:
    name = f"broken_{tmp_path.name}"
    install(name, points, module)
    registry = sources()
    with pytest.raises(SettingsError) as raised:
        registry.read("lens:x")
    assert f"the package {name} 1.5 cannot be used for source 'lens'" in one_line(str(raised.value))
    assert said in str(raised.value)
    assert f"not available: the package {name} 1.5" in help_table(registry)
    registry.check("synthetic:")


@pytest.mark.parametrize("step", ["open", "check"])
def test_an_error_inside_a_package_is_one_line_that_names_it(install: Callable[..., Path], step: str) -> None:
    install(f"pane_{step}", {"lens": "Lens"})
    with pytest.raises(SettingsError) as raised:
        sources().open(f"lens:x?fail={step}")
    assert f"lens:DIR of the package pane_{step} 1.5 failed: ValueError: no" in one_line(str(raised.value))


def test_an_error_while_a_package_gives_frames_ends_the_run_in_one_line(install: Callable[..., Path], edgefer: Run) -> None:
    install("pane_iter", {"lens": "Lens"})
    done = edgefer("run", "--source", "lens:x?fail=iter", "--sink", "jsonl:-")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "package pane_iter 1.5 failed: ValueError: no frame" in done.stderr.splitlines()[-1]


def test_nobody_takes_a_scheme_from_edgefer_or_from_another_package(install: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    install("pane_b", {"lens": "Lens", "file": "Lens"})
    install("pane_a", {"lens": "Lens"})
    registry = sources()
    assert registry.find("lens").package == "pane_a 1.5"
    assert registry.find("file").package == ""
    list(registry)
    assert "source 'lens' of the package pane_b 1.5 is ignored: pane_a 1.5 has one of that name" in caplog.text
    assert "source 'file' of the package pane_b 1.5 is ignored: edgefer has one of that name" in caplog.text


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="no source 'webcam'; there are picamera, opencv"):
        SOURCES.read("webcam:0")
    with pytest.raises(SettingsError, match="no detector 'magic'; there are haar, blazeface"):
        DETECTORS.read("magic")


@pytest.mark.parametrize("registry", [SOURCES, SINKS, DETECTORS], ids=lambda registry: registry.kind)
def test_a_spec_with_a_path_that_is_missing_or_too_many_is_refused_with_the_form_to_write(registry: Registry[Plug]) -> None:
    for scheme in registry:
        try:
            plug = registry.find(scheme)
        except MissingLibrary:
            continue
        forms = [form for form in map(Form, plug.forms) if form.scheme == scheme and not form.network]
        if forms and not any(form.path for form in forms):
            with pytest.raises(SettingsError, match="takes no path"):
                registry.check(f"{scheme}:here")
        elif forms and all(form.path and not form.path.startswith("[") for form in forms):
            with pytest.raises(EdgeferError, match=f"{scheme}:"):
                registry.check(f"{scheme}:")
