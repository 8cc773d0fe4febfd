"""Progress bars on the terminal. Where there is none, as in a notebook that stores its outputs, nothing is shown."""

from tqdm import tqdm


def progress(iterable=None, description: str = "", **options) -> tqdm:
    """A progress bar over an iterable, or with `total=` one that is moved by hand."""
    try:
        terminal = open("/dev/tty", "w")  # noqa: SIM115 (it closes with the bar that holds it)
    except OSError:
        terminal = None
    return tqdm(iterable, desc=description, file=terminal, disable=terminal is None, leave=False, **options)
