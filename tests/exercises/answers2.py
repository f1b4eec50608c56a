"""Answers to the exercises 13 to 21; see answers.py."""

SOLUTIONS: dict[str, list[str]] = {}
WRONG: dict[str, list[tuple[str, str]]] = {}
