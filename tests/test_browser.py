"""The book of the smoke profile as its reader meets it: in Chromium, on a desktop and on a phone."""

import functools
import html
import json
import shutil
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import pytest
import yaml
from conftest import ROOT, run
from playwright.sync_api import expect, sync_playwright

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
CHAPTERS = "book/stages/"
PATIENCE = 30_000  # milliseconds: other tests want the cores too
expect.set_options(timeout=PATIENCE)


def named(toc) -> list[str]:
    """The pages that a table of contents names, in their order."""
    if isinstance(toc, list):
        return [page for entry in toc for page in named(entry)]
    if isinstance(toc, dict):
        return [page for key, entry in toc.items() for page in ([entry] if key in ("root", "file") else named(entry))]
    return []


PAGES = named(yaml.safe_load((ROOT / "_toc.yml").read_text()))
NOTEBOOKS = [page for page in PAGES if page.startswith(CHAPTERS)]


@pytest.fixture(scope="module")
def chromium():
    """Playwright's own Chromium where it was installed, else that of the system."""
    with sync_playwright() as play:
        own = Path(play.chromium.executable_path).is_file()
        program = None if own else shutil.which("chromium")
        if not own and not program:
            pytest.skip("there is no Chromium: apt-get install chromium, or playwright install chromium")
        browser = play.chromium.launch(executable_path=program)
        yield browser
        browser.close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.fixture(scope="module")
def site(project):
    """The address of the book on a server of its own."""
    serve = functools.partial(Quiet, directory=project / "_build" / "html")
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def reader(chromium, site):
    """Opens windows on the book. What they ask of other machines is refused: the book has to do without it."""
    contexts = []

    def window(size=DESKTOP, **settings):
        context = chromium.new_context(viewport=size, base_url=site, **settings)
        context.route(lambda url: not url.startswith(site), lambda route: route.abort())
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        return context.new_page()

    yield window
    for context in contexts:
        context.close()


def listen(page, site: str) -> list[str]:
    """What goes wrong in a window from now on."""
    trouble = []

    def console(message):
        if message.type == "error" and message.location["url"].startswith(site):
            trouble.append(f"console: {message.text}")

    def failed(request):
        # A page that is left aborts what it was still fetching, such as the search its summaries.
        if request.url.startswith(site) and request.failure != "net::ERR_ABORTED":
            trouble.append(f"failed: {request.url} {request.failure}")

    page.on("console", console)
    page.on("pageerror", lambda error: trouble.append(f"script error: {error}"))
    page.on("requestfailed", failed)
    page.on("response", lambda answer: answer.status >= 400 and trouble.append(f"{answer.status} {answer.url}"))
    return trouble


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_page_opens_without_an_error_and_is_no_wider_than_the_window(reader, site, size):
    page = reader(size)
    trouble = listen(page, site)
    for name in PAGES:
        page.goto(f"{name}.html")
        page.evaluate("async () => { await window.MathJax?.startup?.promise }")  # formulas are set by then
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wide > 0:
            trouble.append(f"{name} is {wide} px wider than the window")
        images = page.evaluate("[...document.images].map(image => [image.src, image.naturalWidth])")
        trouble += [f"{name} shows no picture {source}" for source, width in images if not width]
    assert not trouble, "\n".join(trouble)


def test_the_next_links_lead_from_the_landing_page_through_all_pages_in_their_order(reader, site):
    page = reader()
    page.goto("")
    page.wait_for_url(f"**/{PAGES[0]}.html")
    for name in PAGES[1:]:
        page.locator("a.right-next").click()
        page.wait_for_url(f"**/{name}.html")
    assert page.locator("a.right-next").count() == 0


def test_the_sidebar_names_all_pages_in_their_order(reader, site):
    page = reader()
    page.goto(f"{PAGES[0]}.html")
    links = page.locator("nav.bd-links a.internal")
    targets = links.evaluate_all("links => links.map(link => link.href.split('#')[0])")
    assert targets == [f"{site}{name}.html" for name in PAGES]
    assert all(link.is_visible() for link in links.all())


def test_on_a_phone_the_navigation_unfolds_and_leads_to_a_page(reader):
    page = reader(PHONE)
    page.goto(f"{PAGES[0]}.html")
    link = page.locator(f"nav.bd-links a[href$='{PAGES[2].rsplit('/', 1)[1]}.html']")
    expect(link).not_to_be_in_viewport()
    page.locator("button.primary-toggle").click()
    expect(link).to_be_in_viewport()
    link.click()
    page.wait_for_url(f"**/{PAGES[2]}.html")


def test_the_search_finds_a_term_and_its_first_result_opens(reader, site):
    page = reader()
    trouble = listen(page, site)
    page.goto(f"{PAGES[0]}.html")
    page.locator("button.search-button__button:visible").click()
    page.locator("input[name=q]:visible").fill("Shapley")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=Shapley*")
    page.locator("#search-results li a").first.click()
    page.wait_for_url(f"{site}book/**")
    expect(page.locator("main article")).to_contain_text("Shapley")
    assert not trouble, "\n".join(trouble)


def test_every_chapter_hides_its_solutions_until_a_click_unfolds_them(reader):
    page = reader()
    for name in NOTEBOOKS:
        if name.endswith("appendix"):  # which is no lesson
            continue
        page.goto(f"{name}.html")
        solution = page.locator(".tag_hide-cell details").last
        hidden = solution.locator("pre").first
        expect(hidden).not_to_be_visible()
        solution.locator("summary").click()
        expect(hidden).to_be_visible()


# The contrast (W3C, WCAG 2) of each text with what lies behind it: colours are mixed and read back by a canvas.
CONTRAST = """
() => {
  const pixel = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const known = {};
  const luminance = layers => known[layers] ??= mixed(layers);
  const mixed = layers => {
    for (const colour of ["white", ...layers]) { pixel.fillStyle = colour; pixel.fillRect(0, 0, 1, 1); }
    const linear = [...pixel.getImageData(0, 0, 1, 1).data].map(value => value / 255)
      .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const found = [];
  for (const element of document.querySelectorAll(":is(main article, footer.bd-footer-content) *")) {
    const nodes = [...element.childNodes].filter(node => node.nodeType === Node.TEXT_NODE);
    const text = nodes.map(node => node.data).join("").trim();
    if (!text || !element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const behind = [];
    for (let e = element; e; e = e.parentElement) behind.unshift(getComputedStyle(e).backgroundColor);
    const shown = [luminance(behind), luminance([...behind, getComputedStyle(element).color])];
    const contrast = (Math.max(...shown) + 0.05) / (Math.min(...shown) + 0.05);
    found.push([contrast, `${element.tagName} ${text.slice(0, 40)}`]);
  }
  return found;
}
"""


def test_the_theme_switch_leads_to_the_dark_theme_where_the_text_of_every_page_is_readable(reader):
    page = reader(color_scheme="light")
    page.goto(f"{PAGES[0]}.html")
    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "light")
    for _ in range(2):  # it knows three: as the system, dark, light
        if root.get_attribute("data-theme") != "dark":
            page.locator(".article-header-buttons .theme-switch-button").click()
    for name in PAGES:
        page.goto(f"{name}.html")
        expect(root).to_have_attribute("data-theme", "dark")
        found = page.evaluate(CONTRAST)
        faint = [f"{text}: {contrast:.1f}" for contrast, text in found if contrast < 4.5]
        assert found and not faint, f"{name}: {faint}"


def test_the_download_of_a_chapter_is_a_notebook_that_holds_what_it_gave(reader):
    page = reader()
    page.goto(f"{NOTEBOOKS[0]}.html")
    page.locator(".dropdown-download-buttons > button").hover()
    with page.context.expect_event("download") as download:
        page.locator(".btn-download-source-button").click()
    notebook = nbformat.read(download.value.path(), as_version=4)
    nbformat.validate(notebook)
    assert any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.parametrize("name", [PAGES[0], NOTEBOOKS[0]])
def test_a_page_says_how_to_launch_it_and_shows_its_source_on_a_phone_too(reader, site, name):
    page = reader(PHONE)
    page.goto(f"{name}.html")
    page.locator(".dropdown-launch-buttons > button").click()
    launch = page.locator(".dropdown-launch-buttons a", has_text="make lab")
    expect(launch).to_be_in_viewport(ratio=1)
    assert launch.evaluate("link => link.href") == f"{site}book/rerun.html"
    page.locator(".dropdown-source-buttons > button").click()
    with page.expect_popup() as opened:
        page.locator(".dropdown-source-buttons a", has_text="View source").click()
    source = page.context.request.get(f"_sources/{name}.txt").text().removeprefix("\ufeff")
    expect(opened.value.locator("body")).to_have_text(source)


def test_every_page_has_its_source_beside_it_and_names_the_run_that_it_was_built_from(project):
    made = json.loads((project / "runs/smoke/comparison.json").read_text())["provenance"]
    said = f"Built with profile smoke, commit {made['commit']}, {made['device']}, {made['finished'][:10]}"
    for name in PAGES:
        page = (project / f"_build/html/{name}.html").read_text()
        assert html.escape(said) in page and f"_sources/{name}.txt" in page
        assert (project / f"_build/html/_sources/{name}.txt").is_file()


def test_on_paper_there_is_no_navigation_and_nothing_is_hidden_or_cut(reader):
    page = reader({"width": 720, "height": 1000})
    page.emulate_media(media="print")
    for name in PAGES:
        page.goto(f"{name}.html")
        for navigation in ("#pst-primary-sidebar", "#pst-secondary-sidebar", ".bd-header-article", ".prev-next-footer"):
            expect(page.locator(navigation)).not_to_be_visible()
        for solution in page.locator(".tag_hide-cell details pre").all():
            expect(solution).to_be_visible()
        cut = page.evaluate(
            "[...document.querySelectorAll('main article *')].filter(e => e.scrollWidth > e.clientWidth + 1"
            " && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX))"
            ".map(e => e.outerHTML.slice(0, 80))"
        )
        assert not cut, f"{name}: {cut}"


# On the paper's print: what is one thing to look at, and is higher than a page or may be cut between two.
CUT = """
() => [...document.querySelectorAll("figure, img, .admonition, mjx-container[display]")].filter(shown => {
  const whole = shown.closest("figure, .admonition, .math") ?? shown;
  return shown.getBoundingClientRect().height > 970 || getComputedStyle(whole).breakInside !== "avoid";
}).map(shown => shown.outerHTML.slice(0, 80))
"""


def test_the_paper_prints_as_one_document_with_all_its_chapters_and_no_figure_cut(project, reader):
    chapters = [name for name in PAGES if name.startswith("book/paper/")]
    done = run(project, sys.executable, "book/print.py")
    if "there is no Chromium" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    page = reader({"width": 658, "height": 971})  # the text of a page of A4
    titles = []
    for name in [*chapters, "book/references"]:
        page.goto(f"{name}.html")
        titles.append(page.locator("article h1").evaluate("title => title.firstChild.data"))
    page.emulate_media(media="print")
    page.goto("book/paper/print.html")
    assert page.locator("h1").all_inner_texts() == titles
    page.wait_for_function("document.querySelector('mjx-container')")
    assert not page.evaluate(CUT)
    pdf = (project / "_build/html/book/paper/print.pdf").read_bytes()
    assert all(f"/Title ({title})".encode() in pdf for title in titles)
    links = page.locator("a[href^='#']").evaluate_all("links => links.map(link => link.hash.slice(1))")
    assert len(links) > 50 and page.evaluate("links => links.every(link => document.getElementById(link))", links)


def test_without_a_book_to_print_one_sentence_says_so(tmp_path):
    for name in ("_toc.yml", "_config.yml"):
        shutil.copy(ROOT / name, tmp_path)
    done = run(tmp_path, sys.executable, ROOT / "book/print.py")
    assert done.returncode == 1 and done.stderr.strip().endswith("make book first") and "\n" not in done.stderr.strip()
