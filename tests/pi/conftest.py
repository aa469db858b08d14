"""What the tests of installation and service share; nothing here needs a Pi. Run by 'make test-pi'."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator

import pytest
from pi.container import Container, debian, make_bundle, need


@pytest.fixture(scope="session", params=["bookworm", "trixie"])
def container(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A fresh Debian with the unpacked bundle in /opt/bundle; what the tests do to it lies in a layer over the kept root."""
    need("mmdebstrap", "systemd-nspawn", "nsenter")
    bundle = make_bundle(platform.machine())
    kept, folder = debian(request.param), tmp_path_factory.mktemp(request.param)
    for name in ("upper", "work", "root"):
        (folder / name).mkdir()
    # The layer in memory: overlay wants a file system that is not itself one.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", folder / "upper"], check=True)
    for name in ("data", "work"):
        (folder / "upper" / name).mkdir()
    layers = f"lowerdir={kept},upperdir={folder}/upper/data,workdir={folder}/upper/work"
    subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", folder / "root"], check=True)
    container = Container(folder / "root")
    try:
        (container.root / "opt/bundle").mkdir()
        subprocess.run(["tar", "xf", bundle, "--strip-components=1", "-C", container.root / "opt/bundle"], check=True)
        yield container
    finally:
        container.halt()
        subprocess.run(["umount", "--recursive", folder / "root"], check=False)
        subprocess.run(["umount", folder / "upper"], check=False)
