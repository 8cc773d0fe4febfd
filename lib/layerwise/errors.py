"""Bad input, reported in one sentence."""


class InputError(ValueError):
    """Bad input: the message names what is wrong and what to do about it."""

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: a notebook shows the sentence, not the stack above it."""
        return [f"InputError: {self}"]
