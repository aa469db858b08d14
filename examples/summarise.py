"""Print how often each expression occurs in a JSON lines file; needs only Python."""

import argparse
import json
from collections import Counter

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("file", type=argparse.FileType(), help="written by: edgefer run --sink jsonl:out.jsonl")
args = parser.parse_args()

lines = [json.loads(line) for line in args.file]
lines = [line for line in lines if "faces" in line]  # the others report the state of the camera
counts = Counter(face["expression"] for line in lines for face in line["faces"])
print(f"{len(lines)} frames, {sum(bool(line['faces']) for line in lines)} with a face")
for expression, count in counts.most_common():
    print(f"{expression:10}{count / counts.total():6.1%}")
