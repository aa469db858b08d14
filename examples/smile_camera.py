"""Keep a picture whenever somebody smiles: python examples/smile_camera.py [SOURCE] [FOLDER]"""

import sys
from pathlib import Path

import cv2

from edgefer.pipeline.stages import open_pipeline
from edgefer.settings import Settings
from edgefer.sources import open_source

source = sys.argv[1] if len(sys.argv) > 1 else "synthetic:?seconds=10"
folder = Path(sys.argv[2] if len(sys.argv) > 2 else "smiles")
folder.mkdir(exist_ok=True)
pipeline, last_s = open_pipeline(Settings()), -10.0
for frame in open_source(source):
    smiling = any(face.expression == "happy" and face.score > 0.6 for face in pipeline.process(frame).faces)
    if smiling and frame.time_s - last_s >= 5:
        last_s, path = frame.time_s, folder / f"smile-{frame.index:06d}.jpg"
        cv2.imwrite(str(path), frame.luma if frame.bgr is None else frame.bgr)
        print(path)
