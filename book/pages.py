"""A stage's notebook in two parts, and the page that is put together from them.

    python book/pages.py select compute notebooks/fusion.ipynb PART.ipynb
    python book/pages.py select render notebooks/fusion.ipynb PART.ipynb
    python book/pages.py merge notebooks/fusion.ipynb EXECUTED.ipynb ... PAGE.ipynb

Cells with the tag `render` draw figures and tables from saved results; cells with the tag `setup` belong to both
parts; all others compute. So a change of a figure renders a page again and computes nothing, and a change of prose
runs nothing. Notebooks are read as the JSON that they are, because nbformat takes longer to import than this to run.
"""

import json
import sys
from pathlib import Path

INJECTED = "injected-parameters"  # the tag of the cell that papermill adds


def tags_of(cell: dict) -> set[str]:
    """The tags of a cell."""
    return set(cell["metadata"].get("tags", []))


def code_of(cell: dict) -> str:
    """The source of a cell, which the format allows to be a text or its lines."""
    return "".join(cell["source"])


def part_of(cell: dict) -> set[str]:
    """The parts that a code cell belongs to: compute, render or both."""
    if {"setup", "parameters", INJECTED} & tags_of(cell):
        return {"compute", "render"}
    return {"render"} if "render" in tags_of(cell) else {"compute"}


def select(part: str, notebook: dict) -> dict:
    """The notebook with only the code of one part."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and part in part_of(cell)]
    return notebook | {"cells": cells}


def merge(notebook: dict, executed: list[dict]) -> dict:
    """The notebook with the outputs of its cells from executed notebooks, and with the cell that papermill added."""
    ran = {cell["id"]: cell for each in executed for cell in each["cells"] if cell["cell_type"] == "code"}
    injected = next((cell for cell in ran.values() if INJECTED in tags_of(cell)), None)
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert code_of(ran[cell["id"]]) == code_of(cell), f"the cell {cell['id']} has changed since it was executed"
            cell = ran[cell["id"]] | {"metadata": cell["metadata"]}
        cells.append(cell)
        if injected and "parameters" in tags_of(cell):
            cells.append(injected | {"metadata": injected["metadata"] | {"tags": [INJECTED, "hide-input"]}})
    return notebook | {"cells": cells}


def read(file: str) -> dict:
    return json.loads(Path(file).read_text())


if __name__ == "__main__":
    action, *arguments, target = sys.argv[1:]
    if action == "select":
        part, source = arguments
        made = select(part, read(source))
    else:
        source, *others = arguments
        made = merge(read(source), [read(other) for other in others])
    Path(target).write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
