"""What stands around a page: links to launch it and to see its source at the head; at the foot the run and the project.

The theme has such links too, but takes each page for a file of the repository. A chapter is none: a run makes
book/stages/X.ipynb from notebooks/X.ipynb. So the links are built here and join the theme's own buttons.
"""

import hashlib
import json
import os
from html import escape
from pathlib import Path
from urllib.parse import quote

import nbformat
from docutils import nodes
from sphinx.errors import ConfigError
from sphinx.util import docname_join
from sphinx_external_toc.parsing import parse_toc_yaml

from layerwise.study.repository import GITHUB, git, repository

CHAPTERS = "book/stages/"
PLACE = f"{GITHUB}/OWNER/REPOSITORY"  # what pages write for the address of the repository


def foot(results: Path) -> str:
    """The run that the book quotes, in HTML: nothing of the build itself, so that building again changes no page."""
    try:
        made = json.loads(results.read_text())["provenance"]
        said = f"{made['parameters']['profile']}, commit {made['commit']}, {made['device']}, {made['finished'][:10]}"
    except OSError as error:
        raise ConfigError(f"ERROR: cannot read {results}, which LAYERWISE_BUILT names: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"ERROR: {results}, which LAYERWISE_BUILT names, holds no results of a run") from error
    return f"<p>Built with profile {escape(said)}</p>"


def project_links(address: str, commit: str) -> str:
    """Where the project is, how to cite it and what it permits, in HTML."""
    files = {"Repository": "", "How to cite": f"/blob/{commit}/CITATION.cff", "MIT license": f"/blob/{commit}/LICENSE"}
    links = [f'<a href="{escape(address + file)}">{text}</a>' for text, file in files.items()]
    return f"<p>{' · '.join(links)}</p>"


def readable(source: Path) -> str:
    """A page's source as text; a notebook, which a browser would not show, as its cells without outputs."""
    if source.suffix != ".ipynb":
        return source.read_text()
    cells = nbformat.read(source, as_version=4).cells
    return "\n\n".join(f"```{{code-cell}}\n{c.source}\n```" if c.cell_type == "code" else c.source for c in cells)


def configure(app, config):
    """Make what all pages show configuration: when it changes Sphinx writes all of them anew, and none otherwise."""
    looks = sorted(file for folder in config.html_static_path for file in Path(app.srcdir, folder).rglob("*.*"))
    config.page_looks = hashlib.sha256(b"".join(file.read_bytes() for file in [Path(__file__), *looks])).hexdigest()
    address = repository(app.srcdir)
    config.page_repository = [address, address and git(app.srcdir, "rev-parse", "HEAD")]
    results, (address, commit) = os.environ.get("LAYERWISE_BUILT"), config.page_repository
    shown = [foot(Path(app.srcdir, results))] if results else []
    shown += [project_links(address, commit)] if commit else []
    config.html_theme_options["extra_footer"] = "".join(shown)


def name_repository(app, docname, source):
    """Write the address of the repository on the pages that name it, if it is known."""
    address = app.config.page_repository[0]
    source[0] = source[0].replace(PLACE, address or PLACE)


def name_left_out(app, env, node, contnode):
    """A shorter book names the chapters of the whole one that it leaves out, and does not link to them."""
    if node.get("reftype") != "doc":
        return None
    page = docname_join(node.get("refdoc", ""), node["reftarget"])
    if page not in parse_toc_yaml(Path(app.srcdir, "_toc.yml")):
        return None
    name = contnode.astext() if node.get("refexplicit") else Path(page).name.replace("_", " ")
    return nodes.emphasis(name, name)


def add_links(app, pagename, templatename, context, doctree):
    """Add the buttons. Those to GitHub, Binder and Colab need an address on GitHub; the others work everywhere."""
    if doctree is None:  # the search and the index
        return
    source, chapter = Path(app.env.doc2path(pagename)), pagename.startswith(CHAPTERS)
    file = f"notebooks/{source.name}" if chapter else f"{pagename}{source.suffix}"
    opens = file if chapter else "notebooks"
    text = Path(app.outdir, "_sources", f"{pagename}.txt")
    text.parent.mkdir(parents=True, exist_ok=True)
    text.write_text(readable(source), encoding="utf-8-sig")  # marked as UTF-8: not every server says so

    pathto, (address, commit) = context["pathto"], app.config.page_repository
    launch = [("make lab", pathto("book/rerun"), "fas fa-terminal", f"On your machine: make lab opens {opens}")]
    view = [("View source", pathto(f"_sources/{pagename}.txt", 1), "fas fa-code", "View the source of this page")]
    if commit:
        blob = f"{address}/blob/{commit}/{quote(file)}"
        view.append(("On GitHub", blob, "fab fa-github", "View the source on GitHub"))
    if commit and address.startswith(f"{GITHUB}/"):
        binder = f"https://mybinder.org/v2/gh{address.removeprefix(GITHUB)}/{commit}?labpath={quote(opens)}"
        launch.insert(0, ("Binder", binder, "_static/images/logo_binder.svg", f"Binder opens {opens}, set up"))
        if chapter:
            colab = blob.replace(GITHUB, "https://colab.research.google.com/github", 1)
            first = "Colab opens it: run the set-up cell of the page Rerun it first"
            launch.insert(1, ("Colab", colab, "_static/images/logo_colab.png", first))
    context["header_buttons"][:0] = [
        group("launch", "Launch this page", "fas fa-rocket", launch),
        group("source", "Source of this page", "fas fa-code", view),
    ]


def group(name: str, tooltip: str, icon: str, links: list[tuple]) -> dict:
    """A button of the theme that unfolds into links."""
    buttons = [{"type": "link", **dict(zip(("text", "url", "icon", "tooltip"), link, strict=True))} for link in links]
    return {"type": "group", "label": f"{name}-buttons", "tooltip": tooltip, "icon": icon, "buttons": buttons}


def setup(app):
    app.add_config_value("page_looks", "", "html")
    app.add_config_value("page_repository", [], "html")
    app.connect("config-inited", configure)
    app.connect("source-read", name_repository)
    app.connect("missing-reference", name_left_out)
    app.connect("html-page-context", add_links, priority=502)  # after the theme's buttons
    return {"parallel_read_safe": True, "parallel_write_safe": True}
