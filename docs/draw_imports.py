"""Draw which room of the runtime imports which, from the code: python docs/draw_imports.py

A room is a module or a folder at the top of the package. Rooms stand in columns: each imports only rooms to its left. An arrow
that cannot keep to that, because it closes a circle, is red. The arrows are also in the SVG as text, for a test.

    python docs/draw_imports.py [--root CHECKOUT] [--out FILE.svg]
"""

from __future__ import annotations

import argparse
import ast
import re
from collections import defaultdict
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
AFTER = HERE / "images" / "imports.svg"
PAGE = HERE / "architecture.md"
Arrow = tuple[str, str]
"""The room that imports, and the room that is imported."""

COLUMN, ROW, WIDTH, HEIGHT, MARGIN = 176, 30, 112, 22, 14
"""Pixels: distance of columns and rows, size of a room, and the margin."""


def read_imports(root: Path) -> tuple[dict[str, int], set[Arrow]]:
    """Rooms with their number of modules, and the arrows between them, of the checkout at ``root``."""
    package = root / "edge" / "edgefer" if (root / "edge" / "edgefer").is_dir() else root / "edge"
    modules, arrows = defaultdict[str, int](int), set[Arrow]()
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).with_suffix("").parts[0]
        modules[room] += 1
        arrows |= {(room, other) for other in _imported(path, package) if other != room}
    return dict(modules), {(room, other) for room, other in arrows if other in modules}


def _imported(path: Path, package: Path) -> set[str]:
    """The rooms that a module imports, anywhere in it; ``from package import room`` counts too."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == package.name else [node.module]
        found |= {name.split(".")[1] for name in names if name.startswith(f"{package.name}.")}
    return found


def find_upward(rooms: set[str], arrows: set[Arrow]) -> set[Arrow]:
    """Few arrows without which there is no circle (Eades, Lin and Smyth 1993)."""
    left, first, last = set(rooms), list[str](), list[str]()
    while left:
        inside = {(a, b) for a, b in arrows if a in left and b in left}
        out = {room: sum(a == room for a, _ in inside) for room in left}
        into = {room: sum(b == room for _, b in inside) for room in left}
        if sinks := sorted(room for room in left if not out[room]):
            last = sinks + last
            left -= set(sinks)
        elif sources := sorted(room for room in left if not into[room]):
            first += sources
            left -= set(sources)
        else:
            best = max(sorted(left), key=lambda room: out[room] - into[room])
            first.append(best)
            left.remove(best)
    order = {room: index for index, room in enumerate(first + last)}
    return {(a, b) for a, b in arrows if order[a] > order[b]}


def find_columns(rooms: set[str], arrows: set[Arrow]) -> dict[str, int]:
    """Room -> column: one to the right of all that it imports."""
    columns = dict.fromkeys(rooms, 0)
    for _ in rooms:
        for room, other in arrows:
            columns[room] = max(columns[room], columns[other] + 1)
    return columns


def find_rows(columns: dict[str, int], arrows: set[Arrow]) -> dict[str, float]:
    """Room -> row: near the rows of its neighbours, so that few arrows cross."""
    groups = [sorted(room for room in columns if columns[room] == column) for column in range(max(columns.values()) + 1)]
    tallest = max(map(len, groups))
    near = {room: [b if a == room else a for a, b in sorted(arrows) if room in (a, b)] for room in columns}
    rows: dict[str, float] = {}
    for turn in range(12):
        for group in groups if turn % 2 == 0 else groups[::-1]:
            ordered = sorted(group, key=lambda room: _mean([rows[other] for other in near[room] if other in rows])) if rows else group
            rows |= {room: index + (tallest - len(group)) / 2 for index, room in enumerate(ordered)}
    return rows


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def draw(modules: dict[str, int], arrows: set[Arrow]) -> str:
    """The picture as SVG; returns the same text for the same imports."""
    upward = find_upward(set(modules), arrows)
    columns = find_columns(set(modules), arrows - upward)
    rows = find_rows(columns, arrows)
    at = {room: (MARGIN + COLUMN * columns[room], MARGIN + ROW * rows[room]) for room in modules}
    width = COLUMN * max(columns.values()) + WIDTH + 2 * MARGIN
    height = ROW * max(rows.values()) + HEIGHT + 2 * MARGIN + ROW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" font-family="sans-serif" font-size="12">',
        f"<desc>\n{as_text(arrows)}\n</desc>",
        f'<rect width="{width}" height="{height:.0f}" fill="#fff"/>',
        *(_arrow(at, arrow, arrow in upward) for arrow in sorted(arrows, key=lambda arrow: (arrow in upward, arrow))),
        *(_room(room, count, *at[room]) for room, count in sorted(modules.items())),
        f'<text x="{MARGIN}" y="{height - MARGIN:.0f}" fill="#555">{escape(summary(modules, arrows))}</text>',
        "</svg>\n",
    ]
    return "\n".join(lines)


def summary(modules: dict[str, int], arrows: set[Arrow]) -> str:
    """The counts, for the caption."""
    return f"{len(modules)} rooms, {len(arrows)} arrows, {len(find_upward(set(modules), arrows))} of them upward"


def caption(page: str, counts: str) -> str:
    """The page with the counts in its caption."""
    return re.sub(r"(?<=<!-- imports -->\n).*(?=<!-- end -->)", f"{counts}.\n", page, flags=re.DOTALL)


def as_text(arrows: set[Arrow]) -> str:
    """One line for each room that imports: ``room: imported imported``."""
    rooms = sorted({room for room, _ in arrows})
    return "\n".join(f"{room}: {' '.join(sorted(other for a, other in arrows if a == room))}" for room in rooms)


def _arrow(at: dict[str, tuple[float, float]], arrow: Arrow, upward: bool) -> str:
    (x, y), (to_x, to_y) = (at[room] for room in arrow)
    y, to_y = y + HEIGHT / 2, to_y + HEIGHT / 2
    begin, end = (x + WIDTH, to_x) if to_x > x else (x, to_x + WIDTH)
    bend = (end - begin) * 0.4 if to_x != x else -40
    style = 'stroke="#c00" stroke-width="1.6"' if upward else 'stroke="#37a" stroke-opacity="0.35"'
    return (
        f'<path d="M{begin:.0f} {y:.0f}C{begin + bend:.0f} {y:.0f} {end - bend:.0f} {to_y:.0f} {end:.0f} {to_y:.0f}" fill="none" {style}/>'
        f'<circle cx="{end:.0f}" cy="{to_y:.0f}" r="2.2" fill="{"#c00" if upward else "#37a"}"/>'
    )


def _room(room: str, count: int, x: float, y: float) -> str:
    label = f"{room}/ {count}" if count > 1 else room
    fill = "#dfeaf5" if count > 1 else "#f2f2ee"
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="3" fill="{fill}" stroke="#999"/>'
        f'<text x="{x + WIDTH / 2:.0f}" y="{y + 15:.0f}" text-anchor="middle">{escape(label)}</text>'
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=HERE.parent, help="the checkout to read (default: this one)")
    parser.add_argument("--out", type=Path, default=AFTER, help=f"the picture to write (default: {AFTER.name})")
    args = parser.parse_args()
    found = read_imports(args.root)
    args.out.write_text(draw(*found), encoding="utf-8")
    if args.out == AFTER:
        PAGE.write_text(caption(PAGE.read_text(encoding="utf-8"), summary(*found)), encoding="utf-8")
    print(f"{args.out}: {summary(*found)}")
