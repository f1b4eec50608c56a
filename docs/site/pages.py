"""`make docs`: the pages of this project as one static site, in English and Chinese.

The pages are written for a forge, where a link leads to a file. Beginning with the two indexes,
docs/index.md and docs/zh/index.md, each page that is linked, and each source file, is copied into
build/docs with links made for the site. Sphinx makes HTML of that, once for each language, and a
warning is an error. Last, every link of the site must lead somewhere.
"""

import os
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import reference

ROOT = Path(__file__).parents[2]
INDEXES = {"en": "docs/index.md", "zh": "docs/zh/index.md"}
# What stands in a page for what is made of the code.
MADE = {"<!-- commands -->": reference.commands, "<!-- api -->": reference.public_names}
LANGUAGES = {".py": "python", ".pyi": "python", ".js": "javascript", ".toml": "toml"}

FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?\[[^\]]*\])\(([^)#\s]*)(#[^)\s]*)?\)")
# Both colours of a picture; on the site its reader can choose another one than the system's.
PICTURE = re.compile(
    r'<picture>.*?srcset="(.*?)".*?alt="(.*?)".*?src="(.*?)".*?</picture>', re.DOTALL
)
# Between Chinese characters a line break would be shown as a space.
BREAK = re.compile(r"(?<=[\u3000-\u9fff\uff00-\uffef])\n(?=[\u3000-\u9fff\uff00-\uffef])")
AWAY = re.compile(r"!\[([^\]]*)\]\(https?://[^)]*\)")  # a picture from the network: its text
SWITCH = re.compile(r"^.*(?:English \| \[中文\]|\[English\]\(.*?\) \| 中文).*\n\n", re.MULTILINE)


def language_of(path: str) -> str:
    """The language of a page, by its path from the root of the project."""
    return "zh" if path.startswith("docs/zh/") or path.endswith(".zh-CN.md") else "en"


def name_of(path: str) -> str:
    """The name of a page on the site: docs/data.md → data, data/README.md → data-readme."""
    for part in ("docs/zh/", "docs/", ".zh-CN.md", ".md"):
        path = path.removeprefix(part).removesuffix(part)
    return path.replace("/", "-").lower()


def address(path: str, language: str) -> str:
    """Where a page is, from any page of the site in that language."""
    there = language_of(path)
    folder = "" if there == language else {"en": "../", "zh": "zh/"}[there]
    return f"{folder}{name_of(path)}.html"


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def title_of(path: str) -> str:
    """The first heading of a page; a source file has none but its path."""
    heading = re.search(r"^# (.*)", text_of(path), re.MULTILINE) if path.endswith(".md") else None
    return heading[1] if heading else path


def target_of(path: str, link: str) -> str:
    """The file that a link of the page `path` leads to, as a path from the root."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), unquote(link)))


def sections(language: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """The index of a language: under each heading the titles and paths of its pages."""
    index = INDEXES[language]
    parts = re.split(r"^## (.*)", text_of(index), flags=re.MULTILINE)
    return [
        (heading, [(text[1:-1], target_of(index, link)) for text, link, _ in LINK.findall(part)])
        for heading, part in zip(parts[1::2], parts[2::2], strict=True)
    ]


def twins() -> dict[str, str]:
    """Each page that is there in both languages → the same in the other one."""
    pairs = {"README.md": "README.zh-CN.md"}
    for chinese in (ROOT / "docs/zh").glob("*.md"):
        pairs[f"docs/{chinese.name}"] = f"docs/zh/{chinese.name}"
    return pairs | {chinese: english for english, chinese in pairs.items()}


def is_page(path: str) -> bool:
    return path.endswith((".md", *LANGUAGES))


def collect() -> list[str]:
    """All pages and source files that the indexes lead to, as paths from the root."""
    found = [*INDEXES.values()]
    for path in found:  # grows while it is read
        if path.endswith(".md"):
            links = [link for _, link, _ in LINK.findall(FENCE.sub("", text_of(path)))]
            targets = [target_of(path, link) for link in links if link and "://" not in link]
            if missing := [one for one in targets if not (ROOT / one).exists()]:
                sys.exit(f"{path}: a link to {missing[0]}: there is no such file")
            found += [one for one in dict.fromkeys(targets) if is_page(one) and one not in found]
    return found


def for_the_site(path: str, folder: Path) -> str:
    """A page with links made for the site; what it shows or offers is copied into `folder`."""
    language = language_of(path)

    def copied(link: str) -> str:
        file = ROOT / target_of(path, link)
        shutil.copy(file, folder / "files")
        return file.name

    def link(match: re.Match[str]) -> str:
        text, file, anchor = match[1], match[2], match[3] or ""
        target = target_of(path, file)
        if not file or "://" in file:
            return match[0]
        if not is_page(target):
            return f"{text}(files/{copied(file)})"
        if text.endswith(".md]"):  # on the site, pages have titles and no paths
            text = f"[{title_of(target)}]"
        if language_of(target) == language:
            return f"{text}({name_of(target)}.md{anchor})"
        return f"{text}({address(target, language)}{anchor}){{.external}}"

    def picture(match: re.Match[str]) -> str:
        shown = {"only-dark": match[1], "only-light": match[3]}
        return "".join(
            f'<img class="{name}" alt="{match[2]}" src="_static/{copied(image)}">'
            for name, image in shown.items()
        )

    if not path.endswith(".md"):
        code = f"```````{LANGUAGES[Path(path).suffix]}\n{text_of(path)}\n```````\n"
        return f"---\norphan: true\nnosearch: true\n---\n# {path}\n\n{code}"
    text = SWITCH.sub("", text_of(path), count=1)
    for mark, made in MADE.items():
        if mark in text:
            text = text.replace(mark, made())
    text = PICTURE.sub(picture, AWAY.sub(r"\1", text))
    parts = FENCE.split(text)  # what is in a fence stays as it is
    parts[::2] = [LINK.sub(link, BREAK.sub("", part)) for part in parts[::2]]
    listed = [page for _, pages in sections(language) for _, page in pages]
    if path == INDEXES[language]:
        own = [name_of(page) for page in listed if language_of(page) == language]
        parts += ["\n```{toctree}\n:hidden:\n", "\n".join(own), "\n```\n"]
    elif path not in listed:
        parts.insert(0, "---\norphan: true\n---\n")
    return "".join(parts)


def write(build: Path) -> None:
    """Write the sources of the site into a folder for each language."""
    shutil.rmtree(build, ignore_errors=True)
    for language in INDEXES:
        (build / language / "files").mkdir(parents=True)
    for path in collect():
        folder = build / language_of(path)
        page = folder / f"{name_of(path)}.md"
        page.write_text(for_the_site(path, folder), encoding="utf-8")


class _Page(HTMLParser):
    """The names that can be jumped to in a page, and all that it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []  # what a browser fetches without a click
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key == "id":
                self.ids.add(value or "")
            elif key in ("href", "src", "srcset"):
                to = self.links if tag == "a" else self.loads
                to.append(value or "")


def faults(site: Path) -> Iterator[str]:
    """What is wrong with the links of a site, a line each. Other sites are not asked."""
    pages = {file: _Page(file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html"))}
    for file, page in pages.items():
        where = file.relative_to(site).as_posix()
        yield from (f"{where}: loads {one} from the network" for one in page.loads if "//" in one)
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            there = file.parent / unquote(parts.path) if parts.path else file
            there = Path(os.path.normpath(there))
            anchor = unquote(parts.fragment)
            if not there.is_file():
                yield f"{where}: {link}: there is no such file"
            elif anchor and there in pages and anchor not in pages[there].ids:
                yield f"{where}: {link}: there is no such place in it"
    for file in site.rglob("*.css"):
        if re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", file.read_text(encoding="utf-8")):
            yield f"{file.relative_to(site).as_posix()}: loads from the network"


def main(build: Path, site: Path) -> int:
    """Write the pages into `build`, the site into `site`; the exit code."""
    write(build)
    shutil.rmtree(site, ignore_errors=True)
    for language, folder in {"en": site, "zh": site / "zh"}.items():
        words = ["--quiet", "--fail-on-warning", "--conf-dir", "docs/site"]
        words += ["--doctree-dir", str(build / "doctrees" / language), "--tag", language]
        run = [sys.executable, "-m", "sphinx", *words, str(build / language), str(folder)]
        if code := subprocess.run(run, cwd=ROOT).returncode:
            return code
    found = [*faults(site)]
    print("\n".join(found) if found else f"{site}/index.html")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(ROOT / "build/docs", ROOT / "build/site"))
