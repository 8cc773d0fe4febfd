"""Values and tables under names, by which the prose of the pages quotes them."""

import myst_nb
from pandas.io.formats.style import Styler


def glue(**values: str | float | Styler) -> None:
    """Glue values and tables: the prose quotes `test_accuracy` as `test-accuracy`."""
    for name, value in values.items():
        myst_nb.glue(name.replace("_", "-"), value, display=False)
