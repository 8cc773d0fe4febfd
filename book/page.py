"""A page of the book: a notebook's prose as it stands now, with what its code gave when it last ran.

    python book/page.py notebooks/8_comparison.ipynb runs/quick/8_comparison.ipynb book/stages/8_comparison.ipynb

So a change of prose alone needs no new run. papermill adds one cell of its own, which holds the parameters of the run.
"""

import sys

import nbformat

told, executed, page = sys.argv[1:]
notebook = nbformat.read(executed, as_version=4)
ran = iter([cell for cell in notebook.cells if cell.cell_type == "code"])
cells = []
for cell in nbformat.read(told, as_version=4).cells:
    if cell.cell_type == "code":
        last = next(ran)
        if "injected-parameters" in last.metadata.get("tags", []):
            cells.append(last)
            last = next(ran)
        assert last.source == cell.source, f"{told} has changed since {executed} was made"
        last.metadata = cell.metadata
        cell = last
    cells.append(cell)
notebook.cells = cells
nbformat.write(notebook, page)
