"""Shares of each expression in a JSON lines file, without edgefer: python examples/summarise.py out.jsonl"""

import json
import sys
from collections import Counter
from pathlib import Path

lines = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
seen = Counter(face["expression"] for line in lines for face in line["faces"])
print(f"{len(lines)} frames, {sum(bool(line['faces']) for line in lines)} with a face")
for expression, count in seen.most_common():
    print(f"{expression:10}{count / seen.total():6.1%}")
