"""The CSV logs of a run, all its starts together."""

import csv
import io
import math
from pathlib import Path

Curve = list[tuple[int, float]]
"""Steps, ascending, each with its value; a value that is not finite is a gap."""


def read_curves(folder: Path) -> dict[str, Curve]:
    """Return the curves of a run by column name; none where there is no log.

    ``folder`` holds version_0/metrics.csv and a further version for each time the run was resumed.
    What an older version holds from the first step of a newer one on is dropped, and so are lines
    that were cut off.
    """
    merged: dict[str, dict[int, float]] = {}
    versions = {path.parent.name[8:]: path for path in folder.glob("version_*/metrics.csv")}
    for number in sorted(filter(str.isdecimal, versions), key=int):
        table = _read_table(versions[number])
        first = min((min(column) for column in table.values() if column), default=math.inf)
        for name in merged | table:
            kept = {step: value for step, value in merged.get(name, {}).items() if step < first}
            merged[name] = kept | table.get(name, {})
    return {name: sorted(column.items()) for name, column in merged.items() if column}


def _read_table(path: Path) -> dict[str, dict[int, float]]:
    """Return the values of one log by column and step."""
    text = path.read_text("utf-8", errors="replace")
    lines = csv.reader(io.StringIO(text[: text.rfind("\n") + 1]))
    header = next(lines, [])
    cells = zip(*(line for line in lines if len(line) == len(header)), strict=True)
    columns = dict(zip(header, cells, strict=False))
    steps = [_number(cell) for cell in columns.pop("step", ())]
    whole = [int(step) if math.isfinite(step) else -1 for step in steps]
    return {
        name: {s: _number(cell) for s, cell in zip(whole, cells, strict=False) if cell and s >= 0}
        for name, cells in columns.items()
        if name != "epoch"
    }


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
