"""An HTML page as a tree, read strictly: every tag closed, in order."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

from PIL import Image

VOID = {"meta", "img", "br", "link", "input", "hr"}


@dataclass
class Node:
    """One element; `parts` are its texts and elements in order."""

    tag: str
    attributes: dict[str, str]
    parts: "list[str | Node]" = field(default_factory=list)

    def walk(self) -> "Iterator[Node]":
        """This element and all below it."""
        yield self
        for part in self.parts:
            if isinstance(part, Node):
                yield from part.walk()

    def all(self, tag: str, kind: str = "") -> "list[Node]":
        """The elements `tag` below, those with the class `kind` if one is given."""
        found = [node for node in self.walk() if node.tag == tag]
        return [n for n in found if not kind or kind in n.attributes.get("class", "").split()]

    def id(self, name: str) -> "Node":
        """The one element with this id."""
        [found] = [node for node in self.walk() if node.attributes.get("id") == name]
        return found

    @property
    def text(self) -> str:
        """All text, runs of white space as one space."""
        parts = [part if isinstance(part, str) else part.text for part in self.parts]
        return " ".join(" ".join(parts).split())

    def rows(self) -> list[list[str]]:
        """The cells of a table as text, row by row."""
        return [
            [cell.text for cell in row.parts if isinstance(cell, Node)] for row in self.all("tr")
        ]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Node("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "wbr":  # where a name may be broken: nothing that is read
            return
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].parts.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        parts = self.open[-1].parts
        if parts and isinstance(parts[-1], str):
            data = parts.pop() + data  # type: ignore[operator]
        parts.append(data)


def parse(page: str) -> Node:
    """The page as a tree."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert len(reader.open) == 1, f"<{reader.open[-1].tag}> is never closed"
    return reader.open[0]


def image_of(node: Node) -> Image.Image:
    """The picture inside an `<img>`."""
    head, _, content = node.attributes["src"].partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(content, validate=True)))
