"""Name the expressions in one photograph: python examples/photo.py picture.jpg"""

import sys

from edgefer.pipeline.stages import open_pipeline
from edgefer.settings import Settings
from edgefer.sources import open_source

pipeline = open_pipeline(Settings(), tracked=False)
for frame in open_source(f"images:{sys.argv[1]}"):
    for face in pipeline.process(frame).faces:
        print(f"{frame.name}: {face.expression} ({face.score:.0%}) at {face.box}")
