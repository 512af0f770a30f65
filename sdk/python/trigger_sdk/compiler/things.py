"""What kind of thing an expression makes: a logger, a client, a path, a temporary folder …, and the way out for each.

Judged by the words of the call and by what its names refer to. It only chooses words and refuses what is surely wrong;
nothing is accepted because of it.
"""

import ast
import enum
import types

from trigger_sdk.compiler.resolve import resolve, result_type
from trigger_sdk.compiler.source import Source


class Thing(enum.Enum):
    """Kinds that need different ways to live through a resume."""

    LOGGER = "a logger"
    CLIENT = "a connection, client or lock"
    PATH = "a path"
    TEMPORARY = "a temporary file or folder"
    WRITTEN = "a file opened for writing"
    FILE = "an open file"
    TRANSACTION = "a transaction"
    GATHERING = "a pool or group that gathers work"
    DATA = "plain data"


_TEMPORARY = frozenset({
    "NamedTemporaryFile", "SpooledTemporaryFile", "TemporaryDirectory", "TemporaryFile", "mkdtemp", "mkstemp",
})  # fmt: skip
_GATHERING = frozenset({
    "AsyncExitStack", "ExitStack", "ProcessPoolExecutor", "TaskGroup", "ThreadPoolExecutor", "catch_warnings",
    "create_task_group", "open_nursery",
})  # fmt: skip
_DATA_CALLS = frozenset({
    "Counter", "OrderedDict", "bytearray", "defaultdict", "deque", "dict", "list", "set", "BytesIO", "StringIO",
})  # fmt: skip
_LOGGER_CALLS = frozenset({"getLogger", "get_logger", "Logger", "LoggerAdapter"})
_PATH_CALLS = frozenset({"Path", "PosixPath", "PurePath", "PurePosixPath", "WindowsPath"})
_CLIENT_PARTS = (
    "client", "session", "connect", "engine", "socket", "lock", "semaphore", "redis", "channel", "cursor", "consumer",
    "producer", "driver", "browser", "openai", "anthropic", "smtp", "imap", "ftp", "ssh", "pool", "database",
)  # fmt: skip
_TRANSACTION_PARTS = ("atomic", "transaction", "savepoint")
_TRANSACTION_WORDS = frozenset({"begin", "begin_nested"})
_DATA_NODES = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
_WRITING = frozenset("wax+")
_MODULE_OF = {
    Thing.LOGGER: ("logging", "structlog", "loguru"),
    Thing.PATH: ("pathlib",),
    Thing.CLIENT: ("socket", "ssl", "sqlite3", "threading", "multiprocessing", "asyncio.locks", "http.client"),
}


def thing_of(source: Source, node: ast.expr | None) -> Thing | None:
    """The kind of thing that an expression makes; None if that cannot be told."""
    if isinstance(node, ast.Await):
        node = node.value
    if isinstance(node, _DATA_NODES):
        return Thing.DATA
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return Thing.PATH if thing_of(source, node.left) is Thing.PATH else None
    if isinstance(node, ast.Attribute) and node.attr == "parent":
        return thing_of(source, node.value)
    words = words_of(node) if node is not None else []
    if not isinstance(node, ast.Call) or not words:
        return None
    return _by_word(words, node) or _by_type(source, node) or _by_part(words)


def words_of(node: ast.expr) -> list[str]:
    """`a.b.c(…)` as ["a", "b", "c"]; empty for anything else."""
    if isinstance(node, ast.Call):
        return words_of(node.func)
    if isinstance(node, ast.Attribute):
        return [*words_of(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else []


def is_transaction(words: list[str]) -> bool:
    lower = [word.lower() for word in words]
    return any(word in _TRANSACTION_WORDS or any(part in word for part in _TRANSACTION_PARTS) for word in lower)


def _by_word(words: list[str], call: ast.Call) -> Thing | None:
    last = words[-1]
    for known, thing in (
        (_TEMPORARY, Thing.TEMPORARY),
        (_GATHERING, Thing.GATHERING),
        (_LOGGER_CALLS, Thing.LOGGER),
        (_PATH_CALLS, Thing.PATH),
        (_DATA_CALLS, Thing.DATA),
    ):
        if last in known:
            return thing
    if last == "open":
        return Thing.WRITTEN if _writes(call, first=0 if len(words) > 1 else 1) else Thing.FILE
    return Thing.TRANSACTION if is_transaction(words) else None


def _writes(call: ast.Call, first: int) -> bool:
    """Whether a call of `open` may change the file. The mode follows the file, save in `path.open("w")`."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] or call.args[first : first + 2]
    modes = [node.value for node in given if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return any(len(mode) <= 4 and set(mode) <= set("rwaxbt+U") and _WRITING & set(mode) for mode in modes)


def _by_type(source: Source, call: ast.Call) -> Thing | None:
    kind = result_type(source.function, source.node, call)
    made = kind if isinstance(kind, type) else resolve(source.function, source.node, call.func)
    module = getattr(made, "__module__", None)
    if not isinstance(module, str) or isinstance(made, types.ModuleType):
        return None
    for thing, modules in _MODULE_OF.items():
        if any(module == name or module.startswith(f"{name}.") for name in modules):
            return thing
    return _by_part([made.__name__]) if isinstance(made, type) else None


def _by_part(words: list[str]) -> Thing | None:
    lower = words[-1].lower()
    return Thing.CLIENT if any(part in lower for part in _CLIENT_PARTS) else None
