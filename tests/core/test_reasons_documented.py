"""docs/status.md explains every reason that the code can report, no other, and says of each whether it stalls or heals."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from yolo_operator.core import progress

ROOT = Path(__file__).parents[2]
CODE = ROOT / "operator" / "yolo_operator"
PAGE = ROOT / "docs" / "status.md"

STALLS = {"InvalidSpec"}
HEALS = {"NotReady", "Unavailable", "Missing", "Conflict", "NamespaceTerminating", "TryAgain", "Problem"}
"""Callables that make a reason, and what becomes of the resource; a Problem heals unless it is marked permanent."""
TRANSITIONS: dict[str, set[str]] = {"degraded": {"stalls"}, "at": set()}
"""Callables that move a canary, the third argument being the reason, and what becomes of it."""
KEYWORDS = {"reason", "yes", "no", "missing_bucket"}
PHASES = {progress.BUILDING, progress.STARTING, progress.VERIFYING, progress.SERVING, progress.IDLE, progress.DRAINING, progress.FAILED}
REASON = re.compile("[A-Z][a-z]+[0-9A-Za-z]*")


def test_the_page_has_a_line_for_every_reason_and_for_no_other():
    assert documented().keys() - reasons().keys() == set(), "explained, but nothing reports them"
    assert reasons().keys() - documented().keys() == set(), "reported, but not explained in docs/status.md"


def test_the_page_says_rightly_what_needs_an_edit():
    wrong = {reason: (said, reasons()[reason]) for reason, said in documented().items() if reasons().get(reason) and not ends(said) <= reasons()[reason]}
    assert wrong == {}, "(what the page says, what the code does)"


def documented() -> dict[str, str]:
    """The tables' first two columns: reason, and how it ends."""
    return {match[1]: match[2] for match in re.finditer(r"^\| `(\w+)` \| ([^|]*) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)}


def ends(said: str) -> set[str]:
    """stalls and heals, as a line says it."""
    return {word for word in ("stalls", "heals") if word in said}


@functools.cache
def reasons() -> dict[str, set[str]]:
    """Every reason in the code, with how it ends where the code says so in place."""
    found: dict[str, set[str]] = {phase: set() for phase in PHASES}
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(CODE.rglob("*.py"))]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    prefixes = {text for node in nodes if isinstance(node, ast.Call) for word in node.keywords if word.arg == "prefix" for text in texts(word.value)}
    containers = {text for node in nodes if isinstance(node, ast.Call) and called(node) == "container" for text in texts(node.args[0])}
    for node in nodes:
        for reason, end in made(node, prefixes, containers):
            if REASON.fullmatch(reason):
                found.setdefault(reason, set()).update(end)
    return found


def made(node: ast.AST, prefixes: set[str], containers: set[str]) -> Iterator[tuple[str, set[str]]]:
    """The reasons that one piece of code can make."""
    match node:
        case ast.Call():
            name = called(node)
            if name in STALLS | HEALS and node.args:
                permanent = any(word.arg == "permanent" for word in node.keywords)
                end = {"stalls"} if name in STALLS else {"stalls", "heals"} if permanent else {"heals"}
                place = node.args[1:2] if name == "TryAgain" else node.args[:1]
                for value in place:
                    yield from ((text, end) for text in expanded(value, prefixes, containers))
            if name in TRANSITIONS and len(node.args) > 2:
                yield from ((text, TRANSITIONS[name]) for text in texts(node.args[2]))
            if name == "deleting" and len(node.args) > 1:
                yield from ((text, set()) for text in texts(node.args[1]))
            yield from ((text, set()) for word in node.keywords if word.arg in KEYWORDS for text in texts(word.value))
        case ast.Dict():
            yield from ((text, set()) for key, value in zip(node.keys, node.values, strict=True) if key and texts(key) == ["reason"] for text in texts(value))
        case ast.Assign(targets=[ast.Attribute(attr="notice")], value=ast.Tuple(elts=[first, *_])):
            yield from ((text, set()) for text in texts(first))
        case ast.Assign(targets=[ast.Name(id="reason")], value=value):
            yield from ((text, set()) for text in texts(value))
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if name in KEYWORDS:
            yield from ((text, set()) for text in texts(value))
        case ast.FunctionDef(args=arguments):
            names = [argument.arg for argument in arguments.args[len(arguments.args) - len(arguments.defaults) :]]
            yield from ((text, set()) for name, value in zip(names, arguments.defaults, strict=True) if name == "reason" for text in texts(value))


def called(node: ast.Call) -> str:
    """The last part of what is called."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""


def texts(value: ast.expr) -> list[str]:
    """The texts an expression may be: itself, or either side of a condition."""
    match value:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.IfExp(body=body, orelse=orelse):
            return [*texts(body), *texts(orelse)]
        case ast.BoolOp(values=values):
            return [text for part in values for text in texts(part)]
        case _:
            return []


def expanded(value: ast.expr, prefixes: set[str], containers: set[str]) -> Iterator[str]:
    """The same, and names put together: {faults.prefix}Unreachable, {name.capitalize()}Failed."""
    if not isinstance(value, ast.JoinedStr):
        yield from texts(value)
        return
    hole, rest = value.values
    assert isinstance(hole, ast.FormattedValue), ast.unparse(value)
    assert isinstance(rest, ast.Constant), ast.unparse(value)
    known = {"faults.prefix": prefixes, "name.capitalize()": {name.capitalize() for name in containers}}
    yield from (f"{part}{rest.value}" for part in known[ast.unparse(hole.value)])
