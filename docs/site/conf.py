"""Sphinx's settings for the site; `pages.py` makes its pages. `--tag zh` makes the Chinese one."""

import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

sys.path.insert(0, str(Path(__file__).parent))

import mnistlab
import pages

LANGUAGE = "zh" if "zh" in tags else "en"  # noqa: F821 - Sphinx's
OTHER = {"en": "zh", "zh": "en"}[LANGUAGE]
HAN = r"[\u3400-\u9fff]"

project = "mnistlab"
author = "mnistlab"
release = mnistlab.__version__
language = {"en": "en", "zh": "zh_CN"}[LANGUAGE]
extensions = ["myst_parser", "sphinx.ext.autodoc"]
smartquotes = False  # -- is that of a flag
highlight_language = "none"

myst_heading_anchors = 4
myst_enable_extensions = ["attrs_block", "attrs_inline"]
suppress_warnings = ["myst.header"]  # a page may begin with the second level

python_maximum_signature_line_length = 70
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = "mnistlab"
templates_path = ["templates"]
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/pages.html",
        "sidebar/scroll-end.html",
    ]
}
html_context = {
    "sections": [
        (heading, [(title, pages.address(page, LANGUAGE)) for title, page in listed])
        for heading, listed in pages.sections(LANGUAGE)
    ],
}


class SearchChinese(SearchEnglish):
    """Finds Chinese by each character and each pair of them; no dictionary of words is needed."""

    lang = "zh"
    js_splitter_code = """
    function splitQuery(query) {
      return (query.match(/[\\u3400-\\u9fff]+|[^\\W\\u3400-\\u9fff]+/g) || []).flatMap((part) =>
        /[\\u3400-\\u9fff]{2}/.test(part)
          ? [...part].slice(1).map((one, i) => part[i] + one)
          : [part]);
    }
    """

    def split(self, input: str) -> list[str]:  # noqa: A002 - its name in Sphinx
        runs = re.findall(f"{HAN}+", input)
        pairs = [run[i : i + 2] for run in runs for i in range(len(run) - 1)]
        return [*re.findall(r"[^\W\u3400-\u9fff]+", input), *"".join(runs), *pairs]


def in_markdown(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Docstrings are written as Markdown is: `code` between single backticks."""
    lines[:] = [re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line) for line in lines]
    lines[:] = [line.replace("|x|", r"\|x\|") for line in lines]


def short_defaults(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> tuple[str, str]:
    """A default that is made anew for each object is no Python as `inspect` writes it."""
    return signature and signature.replace("<factory>", "..."), returns


def switch(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """The same page in the other language, or its index where there is none."""
    twin = pages.INDEXES[OTHER]
    for path, other in pages.twins().items():
        if pages.name_of(path) == page and pages.language_of(path) == LANGUAGE:
            twin = other
    context["theme_announcement"] = "languages"
    context["twin"] = pages.address(twin, LANGUAGE)


def setup(app: Sphinx) -> None:
    app.config.html_static_path.append(str(app.srcdir / "files"))  # pictures
    app.add_search_language(SearchChinese)
    app.connect("autodoc-process-docstring", in_markdown)
    app.connect("autodoc-process-signature", short_defaults)
    app.connect("html-page-context", switch)
