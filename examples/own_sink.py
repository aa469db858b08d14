"""An output of your own: count the faces, once a second. python examples/own_sink.py"""

import threading

from edgefer.output import Sink
from edgefer.pipeline.loop import open_pipeline, run
from edgefer.settings import Settings
from edgefer.sources import open_source
from edgefer.types import Observation


class Counter(Sink):
    def write(self, observation: Observation) -> None:
        if observation.frame.index % 30 == 0:
            print(f"{observation.frame.time_s:4.0f} s: {len(observation.faces)} faces", flush=True)

    def close(self) -> None: ...


source = open_source("synthetic:?faces=4&seconds=10&paced=false")
print(run(source, open_pipeline(Settings()), [Counter()], threading.Event(), timeout_s=5))
