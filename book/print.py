"""Print the paper of a book that was built: all its pages and the references, as one document.

    python book/print.py

writes `print.html` and, with Chromium, `print.pdf` beside the paper's pages in `_build/html`, in the site's styles for
paper.
"""

import posixpath
import shutil
import subprocess
from pathlib import Path

import yaml
from bs4 import BeautifulSoup

SITE = Path("_build/html")
PRINTED = SITE / "book/paper/print.html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def list_pages() -> list[str]:
    """The pages of the paper, in the order of the book's contents, and the references."""
    parts = yaml.safe_load(Path("_toc.yml").read_text())["parts"]
    paper = next(part for part in parts if part["caption"] == "The paper")
    return [chapter["file"] for chapter in paper["chapters"]] + ["book/references"]


def join(pages: list[str]) -> str:
    """One HTML document of these pages. Links between them stay inside it; other pages are named without a link."""
    documents = [BeautifulSoup((SITE / f"{page}.html").read_text(), "html.parser") for page in pages]
    whole = documents[0]
    articles = [document.select_one("article.bd-article").extract() for document in documents]
    for page, article in zip(pages, articles, strict=True):
        for anchor in article.select("a.headerlink"):
            anchor.decompose()
        for element in article.select("[id]"):
            element["id"] = f"{page}/{element['id']}"
        for link in article.select("a[href]"):
            target, _, anchor = link["href"].partition("#")
            path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target)).removesuffix(".html")
            named = path if target else page
            if named in pages:
                link["href"] = f"#{named}/{anchor}" if anchor else f"#{named}"
            elif "://" not in target:
                link.unwrap()
        article["id"] = page
    for script in whole.select("script"):
        if "mathjax" not in str(script).lower():
            script.decompose()
    settings = yaml.safe_load(Path("_config.yml").read_text())
    whole.title.string = settings["title"]
    whole.html["data-theme"] = "light"
    whole.body.clear()
    paper = whole.new_tag("main", attrs={"class": "bd-content paper"})
    title = BeautifulSoup(f"<header><p>{settings['title']}</p><p>{settings['author']}</p></header>", "html.parser")
    paper.extend([title, *articles])
    whole.body.append(paper)
    return str(whole)


def print_pdf(browser: str) -> Path:
    """Print the joined page as PDF, with an outline of its titles; formulas are set before."""
    pdf = PRINTED.with_suffix(".pdf")
    pdf.unlink(missing_ok=True)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer", "--virtual-time-budget=60000"]
    options += ["--generate-pdf-document-outline", f"--print-to-pdf={pdf}", PRINTED.resolve().as_uri()]
    done = subprocess.run([browser, *options], capture_output=True, text=True)
    if not pdf.is_file():
        raise SystemExit(f"{browser} printed nothing: {done.stderr.strip()[-300:]}")
    return pdf


if __name__ == "__main__":
    pages = list_pages()
    if missing := [page for page in pages if not (SITE / f"{page}.html").is_file()]:
        raise SystemExit(f"{SITE} has no page {missing[0]}: make book first")
    PRINTED.write_text(join(pages))
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        raise SystemExit(f"there is no Chromium (apt-get install chromium); any browser can print {PRINTED}")
    print(f"open {print_pdf(browser)}")
