"""Name the expressions in one photograph."""

import argparse

import edgefer

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("picture", help="the path of an image file")
args = parser.parse_args()

try:
    for face in edgefer.photo(args.picture):
        print(f"{face.expression} ({face.score:.0%}) at {face.box}")
except edgefer.EdgeferError as error:
    parser.error(str(error))
