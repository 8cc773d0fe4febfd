"""What went wrong through no fault of the code, said in one sentence."""


class InputError(ValueError):
    """Bad input: the message names what was wrong and what to do about it."""

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: a notebook shows the sentence, not the stack above it."""
        return [f"InputError: {self}"]
