"""No module-level mutable state: several nodes live in one process and must not meet in a module's variables.

A table at module level is fine as long as no function changes it. What counts as changing it: `global name`, an
assignment to one of its items or attributes, `del` of one, or a mutating method, in a function that has no such name
of its own. A counter at module level (`itertools.count()`) is state whatever is done with it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.house.source import Module, module_of, product

# Tables that are written by decorators while modules are imported, and never afterwards.
FILLED_AT_IMPORT = {
    "node/table.py:COMMANDS": "each command's module registers its commands by decorator",
}

# Methods that change a container where it stands, by the container that has them.
MUTATORS_BY_KIND = {
    "dict": ("clear", "pop", "popitem", "setdefault", "update"),
    "list": ("append", "extend", "insert", "remove", "reverse", "sort"),
    "deque": ("appendleft", "extendleft", "popleft", "rotate"),
    "set": ("add", "discard", "difference_update", "intersection_update", "symmetric_difference_update"),
}
MUTATORS = frozenset(name for names in MUTATORS_BY_KIND.values() for name in names)
CONTAINERS = frozenset({"dict", "list", "set", "bytearray", "defaultdict", "deque", "OrderedDict", "Counter"})
DISPLAYS = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def called(value: ast.expr | None) -> str:
    """The last part of the name that is called; empty when it is no call."""
    return ast.unparse(value.func).rpartition(".")[2] if isinstance(value, ast.Call) else ""


def module_level(module: Module) -> Iterator[tuple[int, str, ast.expr]]:
    """(line, name, value) of each variable bound outside functions and classes."""
    todo: list[ast.stmt] = list(module.tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Assign):
            yield from ((node.lineno, t.id, node.value) for t in node.targets if isinstance(t, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.lineno, node.target.id, node.value
        elif isinstance(node, ast.If | ast.Try | ast.For | ast.While | ast.With):
            todo += [child for child in ast.walk(node) if isinstance(child, ast.Assign | ast.AnnAssign)]


def own_nodes(function: Function) -> Iterator[ast.AST]:
    """The nodes of a function without those of the functions inside it."""
    todo: list[ast.AST] = list(ast.iter_child_nodes(function))
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, FUNCTIONS):
            todo += ast.iter_child_nodes(node)


def own_names(function: Function) -> set[str]:
    """Names that the function binds itself: parameters and assigned variables."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    names = {a.arg for a in every if a}
    return names | {n.id for n in own_nodes(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def changed_names(function: Function) -> Iterator[tuple[int, str]]:
    """(line, name) of each variable whose content the function's own code changes."""
    for node in own_nodes(function):
        changed: ast.expr | None = None
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            changed = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            changed = node.func.value
        if isinstance(changed, ast.Name):
            yield changed.lineno, changed.id


def changes_in(function: Function, tables: set[str], hidden: frozenset[str]) -> Iterator[tuple[int, str]]:
    """(line, what) of each change to module state by the function or one inside it; `hidden` are outer locals."""
    own = own_nodes(function)
    declared = {name for n in own if isinstance(n, ast.Global) for name in n.names}
    yield from ((function.lineno, f"global {name}") for name in sorted(declared))
    local = (hidden | own_names(function)) - declared
    yield from ((line, f"changes {name}") for line, name in changed_names(function) if name in tables - local)
    for node in own_nodes(function):
        if isinstance(node, FUNCTIONS):
            yield from changes_in(node, tables, frozenset(local))


def outer_functions(module: Module) -> Iterator[Function]:
    """The functions and methods of the module that stand in no other function."""
    todo: list[ast.AST] = [module.tree]
    while todo:
        for node in ast.iter_child_nodes(todo.pop()):
            if isinstance(node, FUNCTIONS):
                yield node
            else:
                todo.append(node)


def state(module: Module) -> list[str]:
    """Every place where the module keeps or changes state of its own, as `file:line: what`."""
    bound = list(module_level(module))
    tables = {name for _, name, value in bound if isinstance(value, DISPLAYS) or called(value) in CONTAINERS}
    tables -= {name for name in tables if f"{module.path}:{name}" in FILLED_AT_IMPORT}
    found = [(line, f"{name} is a counter") for line, name, value in bound if called(value) in ("count", "cycle")]
    for function in outer_functions(module):
        found += changes_in(function, tables, frozenset())
    return [f"{module.path}:{line}: {what}" for line, what in sorted(found)]


def test_no_module_keeps_state() -> None:
    assert [line for module in product() for line in state(module)] == []


def test_the_check_notices() -> None:
    def one(text: str) -> list[str]:
        return state(module_of("node/x.py", text))

    assert one("T = {}\ndef f(k):\n    T[k] = 1\n") == ["node/x.py:3: changes T"]
    assert one("T: dict[int, int] = {}\nclass A:\n    def f(self):\n        T.clear()\n")
    assert one("T = defaultdict(list)\ndef f():\n    del T[1]\n")
    assert one("T = []\ndef f():\n    def g():\n        T.append(1)\n    return g\n")
    assert one("N = 0\ndef f():\n    global N\n    N += 1\n")
    assert one("if X:\n    T = set()\nf = lambda x: T.add(x)\n")
    assert one("ids = itertools.count()\n")


def test_the_check_raises_no_false_alarm() -> None:
    def one(text: str) -> list[str]:
        return state(module_of("node/x.py", text))

    assert one("T = {}\nT['a'] = 1\nfor x in y:\n    T[x] = 1\n") == []
    assert one("T = {}\ndef f(T):\n    T[1] = 2\n") == []
    assert one("T = {}\ndef f():\n    T = {}\n    T[1] = 2\n    def g():\n        T.pop(1)\n") == []
    assert one("T = {}\ndef f(self):\n    self.T.clear()\n    return T[1], T.get(2), T.copy()\n") == []
    assert one("X = make()\ndef f():\n    X.update(1)\n") == []
