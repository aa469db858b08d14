"""An output of your own: the number of faces, once a second, as CSV."""

import argparse

import edgefer

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("source", nargs="?", default="synthetic:?faces=4&seconds=10&paced=false")
parser.add_argument("--out", type=argparse.FileType("w"), default="-", help="the file to write (default: the terminal)")
args = parser.parse_args()

next_s = 0.0
try:
    with edgefer.camera(args.source) as observations:
        print("time_s,faces", file=args.out)
        for observation in observations:
            if observation.frame.time_s >= next_s:
                next_s = observation.frame.time_s + 1
                print(f"{observation.frame.time_s:.1f},{len(observation.faces)}", file=args.out, flush=True)
except edgefer.EdgeferError as error:
    parser.error(str(error))
