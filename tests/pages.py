"""The pages of the project, taken apart: for test_docs.py and newcomer.py."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Page:
    """A page as prose, inline code, and blocks of code with their language."""

    def __init__(self, name: str) -> None:
        self.path = ROOT / name
        text = self.path.read_text(encoding="utf-8")
        self.blocks: list[tuple[str, str]] = FENCE.findall(text)
        self.prose = FENCE.sub("", text)
        self.inline = re.findall(r"`([^`]+)`", self.prose)
        console = "\n".join(block for language, block in self.blocks if language == "console")
        self.console = re.findall(r"^\$ (.*)", console, re.MULTILINE)
