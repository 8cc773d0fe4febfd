"""Sentences that people wrote and the recorded runs must bear.

    ```{finding} min(percentiles("kemeny")) > 0.5
    One fused ranking was better than chance in all {measured}`len(graded())|d` runs.
    ```

The condition after the directive's name, and the value before the bar of the role, are Python expressions of the
functions in `layerwise.study.findings`. Where a condition is false, the strict build fails and names the sentence.
"""

import re
from functools import cache
from html import escape
from pathlib import Path
from types import FunctionType

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from layerwise.study import findings

FINDING = re.compile(r"^( *`{3,})\{finding\} (?P<condition>.+)\n(?P<sentence>(?:.*\n)*?)\1$", re.MULTILINE)
MEASURED = re.compile(r"\{measured\}`(?P<expression>[^`]+)`")
logger = logging.getLogger(__name__)


@cache
def names() -> dict[str, object]:
    """What expressions may use: the public functions of `layerwise.study.findings`, and a few of Python's own."""
    functions = {name: each for name, each in vars(findings).items() if isinstance(each, FunctionType)}
    plain = {each.__name__: each for each in (abs, all, any, len, max, min, range, set, sum)}
    return plain | {name: each for name, each in functions.items() if not name.startswith("_")}


def measure(expression: str) -> str:
    """The value of an expression as text: `value|format`, the format as in an f-string."""
    value, _, kind = expression.rpartition("|")
    return format(evaluate(value), kind)


def evaluate(expression: str) -> object:
    """The value of an expression of findings."""
    return eval(expression, {"__builtins__": {}} | names())


def find_false(page: str) -> list[str]:
    """The sentences of a page, with their conditions, that the recorded runs do not bear."""
    return [
        f"{quote(match['sentence'])} ({match['condition']})"
        for match in FINDING.finditer(page)
        if not evaluate(match["condition"])
    ]


def quote(sentence: str) -> str:
    """A sentence as its reader sees it."""
    return " ".join(MEASURED.sub(lambda match: measure(match["expression"]), sentence).split())


class Measured(SphinxRole):
    """A number from the recorded runs."""

    def run(self) -> tuple[list[nodes.Node], list]:
        depend_on_results(self.env)
        return [nodes.Text(measure(self.text))], []


class Finding(SphinxDirective):
    """A sentence, and its condition."""

    required_arguments, final_argument_whitespace, has_content = 1, True, True

    def run(self) -> list[nodes.Node]:
        depend_on_results(self.env)
        condition = self.arguments[0]
        if not evaluate(condition):
            sentence = quote("\n".join(self.content))
            logger.warning(
                "the recorded runs no longer bear this sentence: %s (%s)",
                sentence,
                condition,
                location=self.get_location(),
            )
        shown = nodes.container(classes=["finding"])
        self.state.nested_parse(self.content, self.content_offset, shown)
        mark = f'<span class="checked" title="Checked when this page is built: {escape(condition)}">✓</span>'
        shown[-1] += nodes.raw("", f" {mark}", format="html")
        return [shown]


def depend_on_results(env) -> None:
    """A page is made again when a recorded result changes."""
    for file in sorted(Path(env.srcdir, "results").rglob("*.json")):
        env.note_dependency(str(file))


def setup(app):
    app.add_directive("finding", Finding)
    app.add_role("measured", Measured())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
