"""Progress on the terminal, where there is one: the outputs that a notebook stores stay clean."""

from tqdm import tqdm


def progress(iterable=None, description: str = "", **options) -> tqdm:
    """A progress bar over the iterable, or with `total` one that is moved by hand; silent where no terminal is."""
    try:
        terminal = open("/dev/tty", "w")  # noqa: SIM115 (it closes with the bar that holds it)
    except OSError:
        terminal = None
    return tqdm(iterable, desc=description, file=terminal, disable=terminal is None, leave=False, **options)
