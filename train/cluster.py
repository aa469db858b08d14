"""This process's role in a cluster, from ``TF_CONFIG``: checked before TensorFlow loads, which waits or crashes on a wrong value."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgefer.errors import SettingsError

EXAMPLE = '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'

Address = Annotated[str, Meta(pattern=r"^.+:\d{1,5}$")]


class Machines(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The addresses, host:port; the same list in the same order on every machine."""

    worker: list[Address] = []
    chief: Annotated[list[Address], Meta(max_length=1)] = []


class Task(msgspec.Struct, frozen=True):
    """Which of the addresses belongs to this process."""

    type: Literal["worker", "chief"]
    index: Annotated[int, Meta(ge=0)]


class Cluster(msgspec.Struct, frozen=True):
    """The content of ``TF_CONFIG``; other keys, which schedulers add, are ignored."""

    cluster: Machines
    task: Task

    @property
    def chief(self) -> bool:
        """Whether this process writes the run to disk: the chief, or worker 0 where there is no chief."""
        return self.task.type == "chief" or (self.task.index == 0 and not self.cluster.chief)

    def __str__(self) -> str:
        count = len(self.cluster.chief) + len(self.cluster.worker)
        return f"{self.task.type} {self.task.index} in a cluster of {count}"


def read_cluster() -> Cluster:
    """``TF_CONFIG`` of the environment. Raises `SettingsError`, with an example, where it is missing or invalid."""
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        raise SettingsError(f"--distribute multiworker needs TF_CONFIG in the environment of every worker, such as {EXAMPLE}")
    try:
        # Not strict: schedulers often write the index as a string.
        found = msgspec.json.decode(text.encode(), type=Cluster, strict=False)
    except msgspec.MsgspecError as error:
        raise SettingsError(f"TF_CONFIG: {error}; it should look like {EXAMPLE}") from None
    addresses = found.cluster.chief + found.cluster.worker
    if len(set(addresses)) < len(addresses):
        raise SettingsError(f"TF_CONFIG: an address is listed twice in {', '.join(addresses)}")
    own = found.cluster.chief if found.task.type == "chief" else found.cluster.worker
    if found.task.index >= len(own):
        raise SettingsError(f"TF_CONFIG: this is {found.task.type} {found.task.index}, but the cluster has {len(own)}, counted from 0")
    return found
