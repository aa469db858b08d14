"""Print each change of expression in front of a camera, or in the demonstration."""

import argparse

import edgefer

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("source", nargs="?", default="synthetic:?seconds=30", help="such as opencv:0, picamera: or file:clip.mp4")
args = parser.parse_args()

last: dict[int, str] = {}
try:
    with edgefer.camera(args.source) as observations:
        for observation in observations:
            for face in observation.faces:
                if last.get(face.track) != face.expression:
                    last[face.track] = face.expression
                    print(f"{observation.frame.time_s:8.2f} s  face {face.track}: {face.expression}", flush=True)
except edgefer.EdgeferError as error:
    parser.error(str(error))
