"""Functions and constants of mnistlab as text for a script, so that the two cannot drift apart."""

import ast
import inspect
import re
from collections.abc import Callable, Mapping
from types import ModuleType


def source(function: Callable[..., object], renamed: Mapping[str, str] | None = None) -> str:
    """The text of a top-level `function` as it stands in its file, but shorter.

    Its annotations and empty lines are left out, and of its docstring all but the first line.
    `renamed`: names → what they are in the script.
    """
    lines = inspect.getsource(function).splitlines()
    [node] = ast.parse("\n".join(lines)).body
    assert isinstance(node, ast.FunctionDef)
    for argument in (*node.args.args, *node.args.kwonlyargs):
        argument.annotation = None
    head = f"def {node.name}({ast.unparse(node.args)}):"
    first, doc = node.body[0], (ast.get_docstring(node) or "").partition("\n")[0]
    body = lines[first.end_lineno if doc else first.lineno - 1 :]
    if doc:
        beside = f"{head}  # {doc}"
        head = beside if len(beside) <= 100 else f'{head}\n    """{doc}"""'
    text = "\n".join([head] + [line for line in body if line])
    for old, new in (renamed or {}).items():
        text = re.sub(rf"\b{old}\b", new, text)
    return text


def constants(module: ModuleType) -> str:
    """The lines of `module` that give a name its value, comments and all."""
    lines = inspect.getsource(module).splitlines()
    found = [node for node in ast.parse("\n".join(lines)).body if isinstance(node, ast.Assign)]
    return "\n".join(
        line for node in found for line in lines[node.lineno - 1 : node.end_lineno or node.lineno]
    )
