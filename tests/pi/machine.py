"""A virtual machine with Debian's kernel and its virtual V4L2 camera (vivid), for what needs a real /dev/video0."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from pi.emulation import BUILD, REPOSITORY, root

MODULES = ("9pnet_virtio", "9p", "vivid")
CAMERA = "n_devs=1 node_types=0x1 num_inputs=1 input_types=0"
"""One device that captures video, as a webcam does."""
INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs none /dev
while read module options; do insmod /modules/$module $options; done < /modules/order
mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,cache=loose root /new
mount -t proc none /new/proc; mount -t sysfs none /new/sys; mount --move /dev /new/dev
mount -t tmpfs none /new/tmp; mkdir -p /new/dev/shm; mount -t tmpfs none /new/dev/shm
mount -t 9p -o trans=virtio,version=9p2000.L,ro repository /new/mnt
mount -t 9p -o trans=virtio,version=9p2000.L,ro build /new/media
export {environment}
exec switch_root /new /usr/bin/python3 -c 'import os, subprocess
said = open("/dev/ttyS1", "wb")
status = subprocess.call({command}, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
said.close()
open("/dev/ttyS2", "w").write(str(status))
open("/proc/sysrq-trigger", "w").write("o")
while True: os.wait()'
"""


def in_machine(base: Path, command: list[str], environment: dict[str, str], folder: Path) -> tuple[str, int]:
    """What a command prints in ``base`` on a machine with a camera, and its exit status.

    The repository is /mnt there, what was built /media; ``folder`` is for what is made on the way.
    """
    kernel = root("trixie", "amd64", "linux-image-amd64")
    version = next((kernel / "usr/lib/modules").iterdir()).name
    subprocess.run(["depmod", "-b", str(kernel), version], check=True)
    inside = folder / "initrd"
    for name in ("bin", "dev", "new", "modules"):
        (inside / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "", inside / "bin")
    order: list[str] = []
    for module in MODULES:
        for line in _output("modprobe", "-d", str(kernel), "-S", version, "--show-depends", module).decode().splitlines():
            word, path = line.split()[:2]
            name = Path(path).name.removesuffix(".xz")
            if word == "insmod" and name not in order:
                (inside / "modules" / name).write_bytes(_output("xz", "-dc", path))
                order.append(name)
    (inside / "modules/order").write_text("".join(f"{name} {CAMERA if name == 'vivid.ko' else ''}\n" for name in order))
    words = " ".join(f"{name}={value}" for name, value in environment.items())
    (inside / "init").write_text(INIT.format(environment=words, command=json.dumps(command)))
    (inside / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(inside)) for path in inside.rglob("*"))
    image = folder / "initrd.img"
    image.write_bytes(_output("cpio", "-o", "-H", "newc", "--quiet", input=names.encode(), cwd=inside))
    for name in ("mnt", "media", "tmp", "proc", "sys", "dev"):
        (base / name).mkdir(exist_ok=True)
    shares = {"root": base, "repository": REPOSITORY, "build": BUILD}
    disks = [word for tag, path in shares.items() for word in ("-virtfs", f"local,path={path},mount_tag={tag},security_model=none")]
    said, status = folder / "said", folder / "status"
    serial = [word for place in (folder / "console", said, status) for word in ("-serial", f"file:{place}")]
    subprocess.run(
        ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "2048", "-display", "none", "-monitor", "none",
         "-no-reboot", *serial, "-nic", "none", "-kernel", str(next((kernel / "boot").glob("vmlinuz-*"))), "-initrd", str(image),
         "-append", "console=ttyS0 quiet panic=-1", *disks],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=600, check=True,
    )  # fmt: skip
    return said.read_text(errors="replace").replace("\r", ""), int(status.read_text() or -1)


def _output(*command: str, **more: Any) -> bytes:
    return subprocess.run(command, capture_output=True, check=True, **more).stdout
