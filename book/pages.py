"""A stage's notebook in two parts, and the page that is put together from them.

    python book/pages.py select compute notebooks/fusion.ipynb PART.ipynb
    python book/pages.py select render notebooks/fusion.ipynb PART.ipynb
    python book/pages.py merge notebooks/fusion.ipynb EXECUTED.ipynb ... PAGE.ipynb

Cells with the tag `render` draw figures and tables from saved results; cells with the tag `setup` belong to both
parts; all others compute. So a change of a figure renders a page again and computes nothing, and a change of prose
runs nothing.
"""

import sys

import nbformat

INJECTED = "injected-parameters"  # the tag of the cell that papermill adds


def part_of(cell: nbformat.NotebookNode) -> set[str]:
    """The parts that a code cell belongs to: compute, render or both."""
    tags = set(cell.metadata.get("tags", []))
    if {"setup", "parameters", INJECTED} & tags:
        return {"compute", "render"}
    return {"render"} if "render" in tags else {"compute"}


def select(part: str, notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with only the code of one part."""
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "code" and part in part_of(cell)]
    return notebook


def merge(notebook: nbformat.NotebookNode, executed: list[nbformat.NotebookNode]) -> nbformat.NotebookNode:
    """The notebook with the outputs of its cells from executed notebooks, and with the cell that papermill added."""
    ran = {cell.id: cell for each in executed for cell in each.cells if cell.cell_type == "code"}
    injected = next((cell for cell in ran.values() if INJECTED in cell.metadata.get("tags", [])), None)
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert ran[cell.id].source == cell.source, f"the cell {cell.id} has changed since it was executed"
            ran[cell.id].metadata = cell.metadata
            cell = ran[cell.id]
        cells.append(cell)
        if injected and "parameters" in cell.metadata.get("tags", []):
            cells.append(injected)
    notebook.cells = cells
    return notebook


if __name__ == "__main__":
    action, *arguments, target = sys.argv[1:]
    if action == "select":
        part, source = arguments
        made = select(part, nbformat.read(source, as_version=4))
    else:
        source, *others = arguments
        made = merge(nbformat.read(source, as_version=4), [nbformat.read(other, as_version=4) for other in others])
    nbformat.write(made, target)
