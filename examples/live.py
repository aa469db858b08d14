"""Print each change of expression in front of a camera, or in the demonstration: python examples/live.py [SOURCE]"""

import sys

from edgefer.pipeline.stages import open_pipeline
from edgefer.settings import Settings
from edgefer.sources import open_source

pipeline = open_pipeline(Settings())
shown: dict[int, str] = {}
for frame in open_source(sys.argv[1] if len(sys.argv) > 1 else "synthetic:?seconds=30"):
    for face in pipeline.process(frame).faces:
        if shown.get(face.track) != face.expression:
            shown[face.track] = face.expression
            print(f"{frame.time_s:8.2f} s  face {face.track} looks {face.expression}", flush=True)
