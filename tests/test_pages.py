"""What stands around the pages: links that fit the place the repository is at, and the run the book was made from."""

import json
import re
from types import SimpleNamespace

import nbformat
import pytest
from conftest import ROOT, run
from docutils import nodes
from sphinx import addnodes
from sphinx.errors import ConfigError


@pytest.fixture
def frame(monkeypatch):
    """The extension of the book, with no word from outside on where the repository is."""
    for name in ("GITHUB_REPOSITORY", "GITHUB_SERVER_URL", "LAYERWISE_BUILT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    import page_frame

    return page_frame


@pytest.fixture
def clone(tmp_path):
    """A repository with one commit and no remote."""
    run(tmp_path, "git", "init", "--quiet")
    who = ("-c", "user.name=reader", "-c", "user.email=reader@example.com")
    done = run(tmp_path, "git", *who, "commit", "--quiet", "--allow-empty", "--no-gpg-sign", "--message=first")
    assert done.returncode == 0, done.stderr
    return tmp_path


def links(frame, folder, page: str, suffix: str) -> dict[str, str]:
    """The addresses behind the buttons of a page, by what stands on them."""
    source = folder / f"{page}{suffix}"
    source.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(), source) if suffix == ".ipynb" else source.write_text("# A page")
    config = SimpleNamespace(html_theme_options={}, html_static_path=[])
    app = SimpleNamespace(srcdir=folder, outdir=folder / "html", config=config)
    app.env = SimpleNamespace(doc2path=lambda page: str(source))
    context = {"header_buttons": [], "pathto": lambda target, resource=0: target}
    frame.configure(app, config)
    frame.add_links(app, page, "page.html", context, doctree=object())
    return {button["text"]: button["url"] for group in context["header_buttons"] for button in group["buttons"]}


@pytest.mark.parametrize(
    "remote",
    [
        "https://github.com/ada/layers.git",
        "https://github.com/ada/layers/",
        "https://ada:secret@github.com/ada/layers",
        "git@github.com:ada/layers.git",
        "ssh://git@github.com/ada/layers.git",
    ],
)
def test_a_remote_on_github_gives_the_address_and_nothing_of_who_reads_it(frame, clone, remote):
    run(clone, "git", "remote", "add", "origin", remote)
    assert frame.repository(clone) == "https://github.com/ada/layers"


@pytest.mark.parametrize("remote", ["https://gitlab.com/ada/a.git", "https://notgithub.com/ada/a", "../a"])
def test_a_remote_elsewhere_gives_no_address(frame, clone, remote):
    run(clone, "git", "remote", "add", "origin", remote)
    assert frame.repository(clone) == ""


def test_the_environment_of_a_github_workflow_comes_before_the_remote(frame, clone, monkeypatch):
    run(clone, "git", "remote", "add", "origin", "https://github.com/ada/layers.git")
    monkeypatch.setenv("GITHUB_REPOSITORY", "grace/layers")
    assert frame.repository(clone) == "https://github.com/grace/layers"
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://git.example.com")
    assert frame.repository(clone) == "https://git.example.com/grace/layers"
    assert links(frame, clone, "book/intro", ".md").keys() == {"make lab", "View source", "On GitHub"}


def test_a_chapter_is_launched_and_shown_as_the_notebook_that_the_repository_holds(frame, clone):
    run(clone, "git", "remote", "add", "origin", "https://github.com/ada/layers.git")
    commit = run(clone, "git", "rev-parse", "HEAD").stdout.strip()
    assert links(frame, clone, "book/stages/training", ".ipynb") == {
        "Binder": f"https://mybinder.org/v2/gh/ada/layers/{commit}?labpath=notebooks/training.ipynb",
        "Colab": f"https://colab.research.google.com/github/ada/layers/blob/{commit}/notebooks/training.ipynb",
        "make lab": "book/rerun",
        "View source": "_sources/book/stages/training.txt",
        "On GitHub": f"https://github.com/ada/layers/blob/{commit}/notebooks/training.ipynb",
    }
    prose = links(frame, clone, "book/intro", ".md")
    assert prose["Binder"].endswith("?labpath=notebooks") and prose["On GitHub"].endswith("/book/intro.md")


def test_without_an_address_on_github_a_page_is_launched_and_shown_from_the_book_itself(frame, tmp_path):
    found = links(frame, tmp_path, "book/stages/training", ".ipynb")
    assert found == {"make lab": "book/rerun", "View source": "_sources/book/stages/training.txt"}
    assert (tmp_path / "html" / found["View source"]).is_file()


def test_the_source_of_a_notebook_is_shown_without_its_outputs(frame, tmp_path):
    v4 = nbformat.v4
    outputs = [v4.new_output("stream", text="printed")]
    cells = [v4.new_markdown_cell("# Layers"), v4.new_code_cell("print(1 < 2)", outputs=outputs)]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    assert frame.readable(tmp_path / "a.ipynb") == "# Layers\n\n```{code-cell}\nprint(1 < 2)\n```"


def test_a_shorter_book_names_a_chapter_that_it_leaves_out_and_reports_any_other_missing_page(frame):
    def named(target: str, explicit: bool):
        xref = addnodes.pending_xref(reftype="doc", reftarget=target, refexplicit=explicit, refdoc="book/own")
        return frame.name_left_out(SimpleNamespace(srcdir=ROOT), None, xref, nodes.Text("the language model"))

    assert named("stages/language_model", True).astext() == "the language model"
    assert named("/book/stages/recorded_runs", False).astext() == "recorded runs"
    assert named("stages/language_modell", True) is None


def test_pages_name_the_repository_once_its_address_is_known(frame):
    page = [(ROOT / "book/own.md").read_text()]
    assert frame.PLACE in page[0] and frame.PLACE in (ROOT / "book/rerun.md").read_text()
    config = SimpleNamespace(page_repository=["", ""])
    frame.name_repository(SimpleNamespace(config=config), "book/own", page)
    assert frame.PLACE in page[0]
    config.page_repository[0] = "https://github.com/ada/layers"
    frame.name_repository(SimpleNamespace(config=config), "book/own", page)
    assert "git clone https://github.com/ada/layers layerwise" in page[0] and frame.PLACE not in page[0]


def test_the_foot_links_to_the_repository_its_citation_and_its_licence(frame):
    found = re.findall('href="([^"]+)"', frame.project_links("https://github.com/ada/layers", "9f91"))
    place = "https://github.com/ada/layers"
    assert found == [place, f"{place}/blob/9f91/CITATION.cff", f"{place}/blob/9f91/LICENSE"]
    assert all((ROOT / name).is_file() for name in ("CITATION.cff", "LICENSE"))


PROVENANCE = {
    "commit": "9f914f97e348",
    "parameters": {"profile": "<quick>"},
    "device": "CPU (x86_64)",
    "finished": "2026-11-24T01:58:22+00:00",
}


def test_the_foot_names_the_run_and_is_escaped(frame, tmp_path):
    file = tmp_path / "comparison.json"
    file.write_text(json.dumps({"provenance": PROVENANCE}))
    expected = "<p>Built with profile &lt;quick&gt;, commit 9f914f97e348, CPU (x86_64), 2026-11-24</p>"
    assert frame.foot(file) == expected


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot read .*, which LAYERWISE_BUILT names: No such file or directory"),
        ("{", "which LAYERWISE_BUILT names, holds no results of a run"),
        ("[]", "which LAYERWISE_BUILT names, holds no results of a run"),
        ('{"provenance": {"commit": "1"}}', "which LAYERWISE_BUILT names, holds no results of a run"),
    ],
)
def test_results_that_are_missing_or_broken_end_the_build_in_one_sentence(frame, tmp_path, content, sentence):
    file = tmp_path / "comparison.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=sentence):
        frame.foot(file)
