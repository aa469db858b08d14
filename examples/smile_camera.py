"""Keep a picture whenever somebody smiles, every 5 seconds at most."""

import argparse
from pathlib import Path

import cv2

import edgefer

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("source", nargs="?", default="synthetic:?seconds=10", help="such as opencv:0 or picamera:")
parser.add_argument("--out", type=Path, default=Path("smiles"), help="the folder for the pictures")
args = parser.parse_args()
args.out.mkdir(exist_ok=True)

last_s = -5.0
try:
    with edgefer.camera(args.source) as observations:
        for frame, faces in ((observation.frame, observation.faces) for observation in observations):
            if frame.time_s - last_s >= 5 and any(face.expression == "happy" and face.score > 0.6 for face in faces):
                last_s, path = frame.time_s, args.out / f"smile-{frame.index:06d}.jpg"
                cv2.imwrite(str(path), frame.luma if frame.bgr is None else frame.bgr)
                print(path, flush=True)
except edgefer.EdgeferError as error:
    parser.error(str(error))
