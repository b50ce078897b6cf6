#!/usr/bin/env python3
"""Stages the pages of this repository as the sources of a book, and checks the links of the book that is made of them.

    book.py stage FOLDER    copies the pages to FOLDER/src, beside what they link to, with their list
    book.py check FOLDER    exit code 1 if a link of FOLDER/html leads nowhere
"""

import html.parser
import pathlib
import re
import shutil
import sys
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]

# A part is a title and its pages, in order. A pattern stands for its pages that no part names, by name.
PARTS = [
    ("Heliograph", ["README.md", "CHANGELOG.md"]),
    ("Operation", ["deploy/README.md", "deploy/INSTALL.md", "deploy/*.md"]),
    ("Tests of clients", ["deploy/testing/README.md", "deploy/testing/*/*.md", "deploy/conformance/README.md"]),
    ("Inside", ["codec/PROTOCOL.md", "broker/ARCHITECTURE.md", "loadgen/*.md", "benches/README.md", "benches/record/*.md", "broker/decisions/*.md"]),
]
FRONT = "README.md"  # the page of a folder
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def stage(folder):
    source = folder / "src"
    shutil.rmtree(folder, ignore_errors=True)
    parts = parts_of_pages()
    pages = {page for _, pages in parts for page in pages}
    summary = ["# Summary", ""]
    for title, listed in parts:
        summary += [f"# {title}", ""] + [f"- [{title_of(page)}]({page})" for page in listed] + [""]
    for page in pages:
        write(source / page, staged(page, pages, source))
    write(source / ("SUMMARY" + ".md"), "\n".join(summary))
    write(folder / "book.toml", BOOK)


def parts_of_pages():
    named = {page for _, pages in PARTS for page in pages if "*" not in page}
    parts = []
    for title, patterns in PARTS:
        pages = []
        for pattern in patterns:
            found = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(pattern))
            pages += found if "*" not in pattern else [page for page in found if page not in named]
        parts.append((title, pages))
    return parts


def title_of(page):
    return next(line[2:] for line in (ROOT / page).read_text().splitlines() if line.startswith("# ")).replace("`", "")


def staged(page, pages, source):
    """The text of a page. Files that it links to are copied; a folder's link leads to its README.md, or is its text."""

    def link(match):
        target, fragment = match.group(1), match.group(2) or ""
        if ":" in target:
            return match.group(0)
        path = (ROOT / page).parent / target
        if path.is_dir():
            if not (path / FRONT).is_file():
                return "]"
            target, path = f"{target.rstrip('/')}/{FRONT}", path / FRONT
        relative = path.resolve().relative_to(ROOT)
        if str(relative) in pages:
            # The page of a folder is its index.html there.
            return f"]({target.replace(FRONT, 'index.html')}{fragment})"
        if not path.is_file():
            raise SystemExit(f"error: {page}: no file {target}; expected a path from {pathlib.Path(page).parent}/")
        copy = source / relative
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        return f"]({target})"

    return LINK.sub(link, (ROOT / page).read_text())


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class Page(html.parser.HTMLParser):
    """The ids and the links of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        self.links += [value for name in ("href", "src") if (value := attributes.get(name))]


def check(folder):
    files = {path.relative_to(folder / "html"): path for path in (folder / "html").rglob("*")}
    pages = {name: Page(path.read_text()) for name, path in files.items() if path.suffix == ".html"}
    wrong, links = [], 0
    for name, page in pages.items():
        # The links of 404.html are absolute; those of toc.html, a frame without scripts, are relative to the pages.
        for link in page.links if name.name not in ("404.html", "toc.html") else []:
            address = urllib.parse.urlsplit(link)
            if address.scheme or address.netloc:
                continue
            links += 1
            path = pathlib.PurePosixPath(urllib.parse.unquote(address.path))
            target = name if not address.path else normal(name.parent / path)
            ids = pages[target].ids if target in pages else None
            if target not in files or (address.fragment and ids is not None and address.fragment not in ids):
                wrong.append(f"{name}: {link}")
    print(f"seen: {len(pages)} pages, {links} links")
    if not links:
        raise SystemExit(f"error: {folder}/html has no links; expected the book that mdbook makes of {folder}")
    if wrong:
        raise SystemExit("error: links that lead nowhere:\n  " + "\n  ".join(sorted(set(wrong))))


def normal(path):
    parts = []
    for part in path.parts:
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return pathlib.Path(*parts)


BOOK = """\
[book]
title = "Heliograph"
src = "src"

[build]
build-dir = "html"
create-missing = false

[output.html]
no-section-label = true

[output.html.print]
enable = false

[output.html.fold]
enable = true
level = 1
"""

if __name__ == "__main__":
    work = {"stage": stage, "check": check}.get(sys.argv[1] if len(sys.argv) == 3 else "")
    if work is None:
        raise SystemExit("error: expected stage FOLDER or check FOLDER")
    work(pathlib.Path(sys.argv[2]))
