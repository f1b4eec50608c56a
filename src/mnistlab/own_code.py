"""Code of the user's own: a model, a loss or an optimizer, named `FILE.py:NAME`. No torch.

A run keeps the text of the file, and it is always this text that runs, in one place: `load`. Only
what this user trusts runs: a file named on the command line or in Python, what was trained here
before, what `--trust-code` or `trust_code` allows. SECURITY.md says against whom.
"""

import ast
import contextlib
import hashlib
import inspect
import linecache
import os
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnistlab.config import CODE, TrainConfig, flag_of, is_own
from mnistlab.errors import ConfigError, MnistlabError, is_out_of_memory
from mnistlab.files import user_path
from mnistlab.names import nearest, printable

_MODULE = "mnistlab_own_"  # and the hash: the module that a text becomes
_trusted: set[str] = set()  # keys, or hashes, in this process
tell: Callable[[str], None] | None = None  # with --trust-code all runs, and this tells of it


@dataclass(frozen=True)
class SourceCode:
    """Code and its whole file. name: `net.py:Net`. sha256: of the text, as sha256sum gives it."""

    name: str
    text: str
    sha256: str = ""

    def __post_init__(self) -> None:
        found = hashlib.sha256(str(self.text).encode()).hexdigest()
        if not is_own(self.name) or self.sha256 not in ("", found):
            raise ConfigError("own code needs a name FILE.py:NAME, its text and the hash of that")
        object.__setattr__(self, "sha256", found)

    @property
    def own(self) -> str:
        """The name of the class or function."""
        return self.name.rpartition(":")[2]

    @property
    def key(self) -> str:
        """What is trusted: this text, and of it this name, not whatever it imports."""
        return f"{self.sha256}-{self.own}"

    def require_trust(self, where: str) -> None:
        """Raise ConfigError, which says `where` it was found, unless it may run."""
        with contextlib.suppress(OSError, RuntimeError):
            if {self.key, self.sha256} & _trusted or (_folder_of_trust() / self.key).exists():
                return
        code = f"{where}: code that was not trained here: {self.name}, SHA-256 {self.sha256}"
        if tell is None:
            raise ConfigError(
                f"{printable(code)}; it could do all that you can: read it, then let it run with "
                "--trust-code (in Python with trust_code and this hash)"
            )
        tell(f"note: {printable(code)}; --trust-code lets it run")
        _trusted.add(self.key)

    def load(self) -> Any:
        """The class or function itself; its text runs once in a process. Raises ConfigError."""
        self.require_trust("the run")
        name, file = _MODULE + self.sha256, self.name.rpartition(":")[0]
        module = sys.modules.setdefault(name, types.ModuleType(name))  # dataclasses look there
        if not hasattr(module, "__file__"):  # it has not run to its end yet
            with blamed(self.name):
                code = compile(self.text.removeprefix("\ufeff"), file, "exec")
                # The one place that runs code which is not ours: see above.
                exec(code, vars(module))  # noqa: S102
            module.__file__ = file
        known = {k: v for k, v in vars(module).items() if callable(v)}
        if self.own not in known:
            raise ConfigError(f"{printable(self.name)}: not in this file{nearest(self.own, known)}")
        return known[self.own]

    def asked(self, offered: Mapping[str, Any]) -> dict[str, Any]:
        """Those of `offered` that it has a parameter for."""
        names = inspect.signature(self.load()).parameters
        return {key: value for key, value in offered.items() if key in names}

    def make(self, *arguments: Any, **named: Any) -> Any:
        """What it makes of these. Raises ConfigError."""
        with blamed(f"{self.name}, given {', '.join(named)} (--model-set gives more)"):
            return self.load()(*arguments, **named)


def read(
    config: TrainConfig, origins: Mapping[str, str], kept: Mapping[str, SourceCode]
) -> dict[str, SourceCode]:
    """The code that a config names, by setting: what is `kept`, else from the files.

    A file that the user named is trusted, one that a config file names is not. Raises ConfigError.
    """
    sources = dict(kept)
    for key in CODE:
        if is_own(name := getattr(config, key)) and key not in kept:
            path, _, own = name.rpartition(":")
            with blamed(name):
                text = Path(path).read_bytes().decode()
            code = sources[key] = SourceCode(f"{Path(path).name}:{own}", text)
            if origins[key] == flag_of(key):
                _trusted.add(code.key)
            code.require_trust(origins[key])
            code.load()  # before the data: a typo is refused at once
    return sources


def kept(plain: Mapping[str, Mapping[str, str]]) -> dict[str, SourceCode]:
    """The code that a file of a run holds. Raises ConfigError where it cannot be right."""
    with blamed("own code"):
        return {key: SourceCode(**one) for key, one in plain.items()}


def of_object(own: Any) -> tuple[str, SourceCode]:
    """The absolute name of a class or function, and its code; trusted, as it is here already.

    Of its file only imports, definitions and constants are kept: what else stands there, as a
    notebook's training, must not run once more. Raises ConfigError.
    """
    codes = [getattr(one, "__code__", None) for one in (own, *vars(own).values())]
    path = Path(next((code.co_filename for code in codes if code), own.__qualname__))
    lines = list(linecache.getlines(str(path)))
    if not lines or not own.__qualname__.isidentifier():
        raise ConfigError(f"{own.__qualname__}: define it at the top of a file or of a cell")
    for node in ast.parse("".join(lines)).body:
        if not is_definition(node):
            for number in range(node.lineno - 1, node.end_lineno or 0):
                lines[number] = "\n"
    path = path.with_suffix(".py").absolute()
    code = SourceCode(f"{path.name}:{own.__qualname__}", "".join(lines))
    _trusted.add(code.key)
    return f"{path}:{own.__qualname__}", code


def is_definition(node: ast.stmt) -> bool:
    """Whether a line of a file is an import, a function, a class, a constant or a text."""
    if isinstance(node, ast.Assign | ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)


@contextlib.contextmanager
def blamed(name: str) -> Iterator[None]:
    """Makes one plain ConfigError of whatever own code raises."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, MnistlabError) or is_out_of_memory(error):
            raise
        raise ConfigError(explained(error, name)) from error


def explained(error: BaseException, name: str = "") -> str:
    """`net.py, line 12: IndexError: …`; of an error that is not from own code: `name: …`, or ""."""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__")).startswith(_MODULE):
            name = f"{frame.f_code.co_filename}, line {line}"
    text = str(error).partition("\n")[0]
    return printable(f"{name}: {type(error).__name__}: {text}") if name else ""


def trust_code(sha256: str) -> None:
    """Let code with this SHA-256, which the refusal to run it names, run in this process."""
    _trusted.add(sha256)


def remember(sources: Mapping[str, SourceCode]) -> None:
    """Trust this code from now on, where that can be kept: as an empty file for each key."""
    with contextlib.suppress(OSError, RuntimeError):
        for one in sources.values():
            _folder_of_trust().mkdir(parents=True, exist_ok=True)
            (_folder_of_trust() / one.key).touch()


def _folder_of_trust() -> Path:
    """Where the keys are. Raises RuntimeError where there is no home."""
    import platformdirs  # only here: --help shall be quick

    own = os.environ.get("MNISTLAB_STATE")
    return user_path(own or platformdirs.user_state_path("mnistlab", appauthor=False)) / "trusted"
