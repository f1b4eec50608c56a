"""What no line of ours may do, read from its syntax tree: run foreign code, or a shell."""

import ast
from collections.abc import Iterator

MODULES = {
    *("pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal"),
    *("shelve", "dbm", "pty", "code", "codeop", "commands", "imp"),
}
"""Not imported, whatever for."""

NAMES = {
    *("eval", "exec", "compile", "__import__", "runpy.run_path", "runpy.run_module"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("asyncio.create_subprocess_shell", "tempfile.mktemp", "pty.spawn"),
    *("torch.load", "torch.save", "torch.jit.load", "torch.package", "torch.hub.load"),
    *("torch.serialization.load", "numpy.lib.format.read_array", "pandas.read_pickle"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.Loader"),
}
"""Not named: neither called nor passed on."""

KEYWORDS = {"weights_only": True, "shell": False, "allow_pickle": False}
"""Arguments that must be this constant, in whatever call they stand."""


def breaches(source: str) -> list[str]:
    """What `source` does that it may not, with the line."""
    tree = ast.parse(source)
    known = dict(_imported(tree))
    found = []
    for node in ast.walk(tree):
        for what in _breaches_of(node, known):
            found.append(f"line {getattr(node, 'lineno', 0)}: {what}")
    return found


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """A name here → what it stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (top, top)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _breaches_of(node: ast.AST, known: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        modules = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        modules = []
    for module in modules:
        if module.split(".")[0] in MODULES or module.removeprefix("builtins.") in NAMES:
            yield f"imports {module}"
    if isinstance(node, ast.Name | ast.Attribute) and (name := _full(node, known)) in NAMES:
        yield f"names {name}"
    if isinstance(node, ast.Call):
        yield from _breaches_of_call(node, known)


def _breaches_of_call(node: ast.Call, known: dict[str, str]) -> Iterator[str]:
    for keyword in node.keywords:
        value = keyword.value
        if keyword.arg in KEYWORDS and not (
            isinstance(value, ast.Constant) and value.value is KEYWORDS[keyword.arg]
        ):
            yield f"{keyword.arg}={ast.unparse(value)}"
    # by a name in a text: getattr(builtins, "eval"), import_module("pickle")
    called = _full(node.func, known)
    for argument in node.args:
        if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
            continue
        if called == "getattr":
            name = f"{_full(node.args[0], known)}.{argument.value}".removeprefix("builtins.")
            if name in NAMES:
                yield f"names {name}"
        if called == "importlib.import_module" and argument.value.split(".")[0] in MODULES:
            yield f"imports {argument.value}"


def _full(node: ast.expr, known: dict[str, str]) -> str:
    """`t.load` → torch.load after `import torch as t`; empty for what is no name."""
    if isinstance(node, ast.Name):
        return known.get(node.id, node.id).removeprefix("builtins.")
    if isinstance(node, ast.Attribute) and (owner := _full(node.value, known)):
        return f"{owner}.{node.attr}".removeprefix("builtins.")
    return ""
