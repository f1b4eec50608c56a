"""Chinese: the catalogue has every text, whole; which language is spoken; and how it looks."""

import ast
import io
import json
import re
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from mnistlab.exercises import EXERCISES, load
from mnistlab.exercises.running import files_in, start
from mnistlab.language import _, folded, language, use_language
from mnistlab.lessons import LESSONS
from mnistlab.names import printable
from mnistlab.play.page import FOLDER as PLAY
from mnistlab.play.page import make_page
from mnistlab.report.page import open_report, render
from mnistlab.report.tables import table
from mnistlab.runs import Run
from tests import catalogue
from tests.command import Result
from tests.report.markup import Node, parse

Mnistlab = Callable[..., Result]
VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")


@pytest.fixture(autouse=True)
def english_again(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    yield
    use_language("en")


@pytest.fixture(scope="module")
def chinese() -> dict[str, str]:
    """What the catalogue has: English text → Chinese text."""
    return {str(one.id): str(one.string) for one in catalogue.read_catalogue() if one.id}


def is_chinese(text: str) -> bool:
    return bool(re.search("[\u4e00-\u9fff]", text))


# the catalogue


def test_the_catalogue_has_every_text_of_the_source_and_no_other(chinese: dict[str, str]) -> None:
    where = {text: place for place, text in catalogue.source_texts()}
    new = {text: place for text, place in where.items() if text not in chinese}
    assert not new, f"not in the catalogue, and to be translated: make catalogue; {new}"
    assert not chinese.keys() - where.keys(), "gone from the source: make catalogue"
    assert [where[text] for text, own in chinese.items() if not own] == [], "not translated"


def test_the_compiled_catalogue_is_that_of_the_source_file() -> None:
    po, mo = catalogue.written(catalogue.read_catalogue())
    assert catalogue.PO.read_bytes() == po
    assert catalogue.MO.read_bytes() == mo, "make catalogue"


def test_placeholders_code_and_tags_are_those_of_the_english_text(chinese: dict[str, str]) -> None:
    def kept(text: str) -> list[Any]:
        fields = [field[1:3] for field in string.Formatter().parse(text) if field[1] is not None]
        return [sorted(fields, key=str), *map(sorted, (re.findall("`.*?`", text), tags(text)))]

    def tags(text: str) -> list[str]:
        return re.findall("<.*?>", text)

    wrong = []
    for english, own in chinese.items():
        try:
            same = kept(english) == kept(own)
        except ValueError:  # a brace that is none of a placeholder: then the text is not formatted
            same = sorted(re.findall("[{}]", english)) == sorted(re.findall("[{}]", own))
        wrong += [] if same else [(english, own)]
    assert wrong == []


def test_texts_end_as_they_do_in_english_and_use_chinese_marks(chinese: dict[str, str]) -> None:
    for english, own in chinese.items():
        assert english.rstrip()[-1:] != "." or own.rstrip().endswith("。"), own
        outside = re.sub("`.*?`", "", own)
        assert not re.search("[\u4e00-\u9fff][,;:?!]|[,;:?!][\u4e00-\u9fff]", outside), own
        assert not re.search("[\u4e00-\u9fff][A-Za-z0-9]|[A-Za-z0-9][\u4e00-\u9fff]", outside), own


def test_hints_are_three_lines_in_both_languages(chinese: dict[str, str]) -> None:
    for name in EXERCISES:
        hints = load(name).hints
        assert (len(hints.splitlines()), len(chinese[hints].splitlines())) == (3, 3), name


def test_a_story_of_a_mistake_has_a_name_before_its_colon(chinese: dict[str, str]) -> None:
    stories = [own for english, own in chinese.items() if re.match(r"\d\. ", english)]
    assert len(stories) == 9
    assert all(re.fullmatch(r"\d\. .*?：.*。", story) for story in stories)


PICTURES = ("Curves", "Images")
NAMED = ast.Name | ast.Attribute | ast.Subscript


def calls(file: Path, tree: ast.AST | None = None) -> Iterator[tuple[str, ast.Call]]:
    """The calls in `file` of functions that take a text, with the name."""
    names: tuple[str, ...] = catalogue.MARKS
    if file.parent.name == "lessons":
        names += (*catalogue.TAKES_TEXT, *PICTURES)
    for node in ast.walk(tree or ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "id", "")
            if name in names:
                yield name, node


def test_a_text_to_translate_is_a_constant_or_the_name_of_one() -> None:
    for file in catalogue.SOURCE.rglob("*.py"):
        for name, node in calls(file):
            where, text = f"{file.name}:{node.lineno}", node.args[0]
            if name in PICTURES or (file.match("lessons/kit.py") and isinstance(text, ast.Call)):
                continue  # the kit joins the lines of the texts that lessons give
            either = (text.body, text.orelse) if isinstance(text, ast.IfExp) else (text,)
            named = name != "N_" and all(isinstance(one, NAMED) for one in either)
            assert named or catalogue.constant(text), f"{where}: {name}() of what is no constant"


def test_the_words_of_pictures_in_lessons_are_translated() -> None:
    for file in (catalogue.SOURCE / "lessons").glob("*.py"):
        for name, node in calls(file):
            if name in PICTURES:
                for part in (*node.args, *(keyword.value for keyword in node.keywords)):
                    plain = catalogue.constant(part)
                    assert plain == "logit" or not re.search("[a-z]{2}", plain), (
                        f"{file.name}:{node.lineno}: {plain}"
                    )


def test_no_sentence_of_a_lesson_goes_by_without_a_mark() -> None:
    of_torch = {"scalar outputs", "a second time"}  # what its messages say
    of_the_kit = {"the control"}  # a default, which is a source elsewhere
    for file in (catalogue.SOURCE / "lessons").glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        marked = {id(node.args[0]) for _name, node in calls(file, tree)}
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "source":
                marked.add(id(node.value))
            if isinstance(node, ast.Raise | ast.Expr) and not isinstance(
                getattr(node, "value", None), ast.Yield | ast.YieldFrom
            ):  # errors and docstrings
                marked |= {id(part) for part in ast.walk(node)}
        loose = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and id(node) not in marked
            if re.search("[a-z]{2,} [a-z]{2,}", str(node.value))
        }
        assert loose <= of_torch | of_the_kit or file.name == "kit.py", f"{file.name}: {loose}"


def test_the_scripts_of_the_page_find_all_of_their_texts(chinese: dict[str, str]) -> None:
    for file in PLAY.glob("*.js"):
        script = file.read_text(encoding="utf-8")
        found = re.findall(r'\b_\("(.+?)"', script)
        assert len(found) == len(re.findall(r"\b_\(", script)), f"{file.name}: not a constant"
        assert not [text for text in found if text not in chinese or "\\" in text]


# which language


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LC_MESSAGES": "zh_TW"}, "zh"),
        ({"LC_ALL": "zh_CN.UTF-8", "LANG": "en_US.UTF-8"}, "zh"),
        ({"LC_ALL": "C", "LC_MESSAGES": "zh_CN", "LANG": "zh_CN"}, "en"),
        ({"LC_ALL": "", "LC_MESSAGES": "en_GB", "LANG": "zh_CN"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_the_language_is_that_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
    mnistlab: Mnistlab,
    variables: dict[str, str],
    expected: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    listed = mnistlab("lesson").ok()
    assert is_chinese(listed.out) == (expected == "zh")
    assert language() == expected
    assert "not a language" not in listed.err
    assert is_chinese(mnistlab("lesson", "--lang", "zh").ok().out)
    assert not is_chinese(mnistlab("lesson", "--lang", "en").ok().out)


def test_an_unknown_language_is_said_once_and_english_goes_on(mnistlab: Mnistlab) -> None:
    result = mnistlab("lesson", "--lang", "fr").ok()
    assert result.err.count("--lang fr: not a language of mnistlab (en, zh); in English then") == 1
    assert result.out == mnistlab("lesson").out


def test_commands_without_the_flag_speak_english_wherever_they_are(
    monkeypatch: pytest.MonkeyPatch, mnistlab: Mnistlab, tiny: Path
) -> None:
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert not is_chinese(mnistlab("show", tiny).ok().out)
    mnistlab("train", "--data", tiny, "--epochs", "2", "-q").ok()
    shown = mnistlab("show", "latest", "--what", "mistakes")
    assert not is_chinese(shown.out + shown.err)
    assert language() == "en"


def test_json_and_errors_are_english(mnistlab: Mnistlab, tmp_path: Path) -> None:
    own = ("--lang", "zh", "--json")
    start(tmp_path)
    names = [file.name for file in files_in(tmp_path)]
    wrong = tmp_path / names[3]
    wrong.write_text(wrong.read_text("utf-8").replace("    ...\n", "    return None\n"), "utf-8")
    for command in (
        ("lesson", *own),
        ("lesson", "derivative", *own),
        ("exercise", "show", "accuracy", *own),
        ("exercise", "check", wrong, *own),
    ):
        text = json.dumps(mnistlab(*command).json, ensure_ascii=False)
        assert not is_chinese(text), command
    assert is_chinese(mnistlab("exercise", "check", wrong, "--lang", "zh").out)
    none = tmp_path / "none.py"
    for refused in (("lesson", "pixls"), ("exercise", "check", none), ("play",)):
        result = mnistlab(*refused, "--lang", "zh")
        assert (result.code, is_chinese(result.err)) == (2, False)
    result = mnistlab("exercise", "check", wrong, "--lang", "zh")
    assert result.err == "error: not right yet: accuracy\n"


def test_a_lesson_is_told_in_chinese_and_its_figures_stay(mnistlab: Mnistlab) -> None:
    here, there = (mnistlab("lesson", "derivative", "--lang", lang).ok() for lang in ("zh", "en"))
    assert "项检查中成立" in here.out
    words = set(re.findall("[A-Za-z]{4,}", re.sub(r"：(grad|trying).*", "", here.out, flags=re.I)))
    assert words <= set(re.findall("[A-Za-z]{4,}", there.out))
    assert len(words) < 20
    numbers = [re.findall(r"\d\.\d+", result.out) for result in (here, there)]
    assert sorted(numbers[0]) == sorted(numbers[1])


def test_a_picture_is_drawn_in_chinese_whatever_fonts_there_are(mnistlab: Mnistlab) -> None:
    pytest.importorskip("matplotlib")
    told = mnistlab("lesson", "momentum", "--plot", "p.svg", "--lang", "zh", "-q").ok()
    assert told.err == ""
    assert "<!-- 两条路，一步一步看 -->" in Path("p.svg").read_text("utf-8")


def test_an_exercise_s_file_and_its_verdict_are_in_chinese(
    mnistlab: Mnistlab, tmp_path: Path
) -> None:
    mnistlab("exercise", "start", tmp_path, "--lang", "zh").ok()
    file = tmp_path / "04_accuracy.py"
    text = file.read_text("utf-8")
    assert "# 对了多少？\n" in text
    file.write_text(text.replace("    ...\n", "    return (answers == targets).sum()\n"), "utf-8")
    result = mnistlab("exercise", "check", file, "--hint", "1", "--lang", "zh")
    assert result.code == 3
    assert "  期望  0.4\n" in result.out
    assert "  你的  2\n" in result.out
    assert "要除以图像数。" in result.out
    assert "提示 1：" in result.out
    assert result.out.endswith("1 道中对了 0 道\n")


# how it looks on a terminal


def test_lists_are_aligned_and_eighty_columns_wide(mnistlab: Mnistlab, tmp_path: Path) -> None:
    start(tmp_path)
    lessons = mnistlab("lesson", "--lang", "zh").ok().out.splitlines()
    status = mnistlab("exercise", "status", tmp_path, "--lang", "zh").out.splitlines()
    use_language("zh")
    lists = (lessons, LESSONS.values()), (status, [title for _name, title in EXERCISES.values()])
    for lines, titles in lists:
        assert max(map(cell_len, lines)) <= 80
        begins = {line.index(_(title)) for line, title in zip(lines, titles, strict=False)}
        assert len(begins) == 1
        assert all(line[: min(begins)].isascii() for line, _title in zip(lines, titles))  # noqa: B905
    assert [line.split()[0] for line in lessons] == list(LESSONS)


def test_the_columns_of_a_table_are_aligned_under_wide_characters() -> None:
    drawn = table(("类别", "准确率"), [("三", "97.5 %"), ("seven", "错"), ("数字七", "1")], left=1)
    console = Console(width=80, file=io.StringIO())
    with console.capture() as capture:
        console.print(drawn)
    lines = capture.get().splitlines()
    assert {cell_len(line) for line in lines} == {cell_len(lines[0])} != {0}


def test_chinese_is_folded_by_columns_and_no_line_begins_with_a_mark(
    chinese: dict[str, str],
) -> None:
    for text in chinese.values():
        for width in (30, 80):
            lines = folded(text.replace("\n", " "), width, "  ")
            longest = max(map(len, re.findall(r"[!-~]+", text)), default=0)
            assert max(map(cell_len, lines)) <= max(width, longest + 8)
            assert not [line for line in lines[1:] if re.match(r" *[，。：；？！、）”]", line)]
            assert not [line for line in lines if line.endswith(("（", "“"))]
            joined = "".join(line.strip() for line in lines)
            assert joined.replace(" ", "") == text.replace("\n", "").replace(" ", "")
    assert folded("a plain sentence", 8, "  ") == ["a plain", "  senten", "  ce"]


def test_chinese_text_is_printable(chinese: dict[str, str]) -> None:
    assert [text for text in chinese.values() if printable(text.replace("\n", "")) != text] == [
        text for text in chinese.values() if "\n" in text
    ]


# pages


@pytest.fixture
def run(mnistlab: Mnistlab, tmp_path: Path) -> Run:
    """A net of two layers, trained on a hundred images of two seeds."""
    images = ("--data", "mnist_sample", "--epochs", "2", "--seeds", "2", "--batch-size", "4096")
    mnistlab("train", "--model", "two-layer", *images, "--run-dir", tmp_path / "runs", "-q").ok()
    return Run(next((tmp_path / "runs").iterdir()))


def words(node: Node) -> set[str]:
    """The English words of a page, also those that are read aloud; without names in `code`."""
    own = node.attributes.get("class", "").split()
    if node.tag in ("code", "style", "script", "kbd") or "mono" in own or "text" in own:
        return set()
    read = [node.attributes.get(name, "") for name in ("aria-label", "alt", "title")]
    found = set(re.findall(r"[A-Za-z]{2,}", " ".join(read)))
    for part in node.parts:
        found |= words(part) if isinstance(part, Node) else set(re.findall("[A-Za-z]{2,}", part))
    return found


NAMES = {"two", "layer", "mnist", "sample", "mnistlab", "torch", "logit", "JavaScript", "Tab"}


@pytest.mark.parametrize("best", [False, True])
def test_a_report_in_chinese_has_nothing_in_english_but_names(run: Run, best: bool) -> None:
    use_language("zh")
    page = parse(render(open_report(run, best=best)))
    assert page.all("html")[0].attributes["lang"] == "zh-CN"
    figures = {"valid", "png", "UTC", "Wilson", *re.findall("[A-Za-z]+", run.name)}
    assert words(page) <= NAMES | figures
    assert page.all("h1")[0].text == "mnist_sample 上的 two-layer"
    origins = {row[2] for row in page.id("settings").all("table")[0].rows()[1:]}
    assert {one for one in origins if not is_chinese(one)} <= {
        *("--data", "--epochs", "--seeds", "--batch-size", "--model"),
    }


def test_a_page_to_draw_on_in_chinese_has_nothing_in_english_but_names(run: Run) -> None:
    use_language("zh")
    content, _missing = make_page(run)
    without = re.sub(r"<noscript>(.*?)</noscript>|<(/?)(input|canvas)[^>]*>", r"\1", content)
    assert content.startswith('<!doctype html>\n<html lang="zh-CN">')
    assert words(parse(without)) <= NAMES | {"run", *re.findall("[A-Za-z]+", run.name)}
    found = re.search(r'id="payload">(.*?)</script>', content)
    assert found
    texts = json.loads(found[1])["texts"]
    assert len(texts) >= 25
    assert all(map(is_chinese, texts.values()))
    labels = re.findall(r'<(?:input|canvas)[^>]*aria-label="(.*?)"', content)
    assert len(labels) == 3
    assert all(map(is_chinese, labels))
    use_language("en")
    assert '"texts"' not in make_page(run)[0]
