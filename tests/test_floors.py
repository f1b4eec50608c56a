"""The floors of docs/architecture.md: imports go down only, heavy libraries stay in their room."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "mnistlab"

FLOORS: dict[str, int] = {
    # floor 0: no torch
    "__init__": 0,
    "own_code": 0,
    "errors": 0,
    "names": 0,
    "language": 0,
    "system": 0,
    "files": 0,
    "config": 0,
    "launcher": 0,
    "resolving": 0,
    "runs": 0,
    "records": 0,
    "summaries": 0,
    # floor 1: data, models, and what they are made of
    "data": 1,
    "losses": 1,
    "metrics": 1,
    "optim": 1,
    "models": 1,
    "devices": 1,
    "parts": 1,
    "processes": 1,
    # floor 2: the loop and the files that hold a model
    "training": 2,
    "storage": 2,
    # floor 3: where a config becomes objects
    "calibration": 3,
    "experiment": 3,
    "own_checks": 3,
    "resuming": 3,
    "scoring": 3,
    "studies": 3,
    "eject": 3,
    # floor 4: what people look at
    "report": 4,
    "exports": 4,
    "play": 4,
    # floor 5: the edges
    "lessons": 5,
    "book": 5,
    "reproduction": 5,
    "ten_digits": 5,
    "exercises": 5,
    "cli": 5,
    "__main__": 5,
}
# Who may import what, beyond the floors.
ROOMS: dict[str, set[str]] = {
    "typer": {"cli"},
    "jinja2": {"report", "play", "eject"},
    "onnxruntime": {"exports"},
    "mlflow": {"exports"},
    "rich": {"report", "cli"},
    "matplotlib": {"report", "cli"},
    "torchvision": {"devices"},
    "scipy": {"data"},
}
NO_TORCH = {name for name, floor in FLOORS.items() if floor == 0}


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(path: Path, types: bool = True) -> set[str]:
    """Every module that `path` imports, also inside functions; if `types`, also for types only."""
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not types:
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: write imports out in full"
            module = node.module or ""
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


FILES = sorted(SOURCE.rglob("*.py"))


def test_every_room_stands_on_a_floor() -> None:
    assert {room_of(path) for path in FILES} == set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down_only(path: Path) -> None:
    own = room_of(path)
    # The package's __init__ names what it offers lazily, from every floor.
    if own == "__init__":
        return
    for module in imports_of(path):
        parts = module.split(".")
        if parts[0] == "mnistlab":
            below = parts[1] if len(parts) > 1 and parts[1] in FLOORS else "__init__"
            assert FLOORS[below] <= FLOORS[own], f"{path.name} imports {module} from above"
        if parts[0] in ROOMS:
            assert own in ROOMS[parts[0]], f"{parts[0]} does not belong into {own}"
        if parts[0] == "torch":
            assert own not in NO_TORCH, f"{path.name} is on the floor without torch"


def test_no_chain_of_imports_is_long_or_closed() -> None:
    modules = {f"mnistlab.{path.relative_to(SOURCE).with_suffix('')}".replace("/", "."): path
               for path in FILES if path.name != "__init__.py"}  # fmt: skip
    below = {
        name: {
            part
            for module in imports_of(path, types=False)
            for part in (module, module.rpartition(".")[0])
        }
        & (modules.keys() - {name})
        for name, path in modules.items()
    }
    chains: dict[str, list[str]] = {}

    def chain(name: str, above: tuple[str, ...] = ()) -> list[str]:
        assert name not in above, f"a cycle: {' > '.join((*above, name))}"
        if name not in chains:
            longest = max((chain(m, (*above, name)) for m in below[name]), key=len, default=[])
            chains[name] = [name, *longest]
        return chains[name]

    longest = max(map(chain, modules), key=len)
    assert len(longest) <= 12, " > ".join(longest)
