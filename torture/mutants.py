"""
Small faults in a source file, one at a time: what its unit tests have to notice.

Each mutant changes one node of the syntax tree as a slip of the pen would: an operator, a
comparison, a number, a bound, a stopped gradient, the order of two arguments, a sum for a mean.
What only users and developers read (messages, help, log, annotations, docstrings) is left alone.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
import copy
from dataclasses import dataclass
from functools import partial

OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
COMMUTATIVE = (ast.Add, ast.Mult, ast.BitAnd, ast.BitOr)
# the operator at the bound, and the opposite
COMPARISONS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
SWAPS = ('mean sum', 'amin amax', 'min max', 'minimum maximum', 'all any', 'argmin argmax',
         'sin cos', 'floor ceil', 'zeros ones', 'zeros_like ones_like')  # fmt: skip
OTHER_NAME = {a: b for s in SWAPS for a, b in (s.split(), s.split()[::-1])}
# Methods without which a value keeps its shape, and functions that are likewise left out.
REMOVED_METHODS = {'detach', 'clamp', 'clip', 'abs', 'square', 'sqrt', 'exp', 'log', 'relu',
                   'flip', 'roll', 'round', 'log_softmax', 'cumsum', 'transpose'}  # fmt: skip
REMOVED_FUNCTIONS = {'swap', 'jitter_colours', 'exp', 'sqrt', 'log', 'log1p', 'radians',
                     'normalize', 'softplus', 'sigmoid', 'detach', 'abs', 'square'}  # fmt: skip
# Calls whose arguments nothing depends on, or whose order does not matter.
IGNORED_CALLS = {
    'warning',
    'info',
    'debug',
    'getLogger',
    'isinstance',
    'TypeVar',
    'register_buffer',
}
IGNORED_KEYWORDS = {'help', 'name', 'strict'}
SYMMETRIC = {'max', 'min', 'maximum', 'minimum', 'transpose'}
# What holds a node: another node, its field, and the place in a list.
Slot = tuple[ast.AST, str, int | None]


@dataclass(frozen=True)
class Mutant:
    """
    A source with one fault.

    :param key: class and function, code before and after, and which of several alike: stable under
        changes elsewhere in the file
    :param function: the outermost function whose code has the fault; empty outside of functions
    """

    key: str
    line: int
    function: str
    write: Callable[[], str]

    @property
    def source(self) -> str:
        """Return the whole file with the fault."""
        return self.write()


def mutants(source: str) -> Iterator[Mutant]:
    """Yield the mutants of a source file, in the order of its lines."""
    tree = ast.parse(source)
    seen: Counter[str] = Counter()
    for place, function, slot in _sites(tree, '', ''):
        node = _get(slot)
        for changed in _changes(node, slot[0]):
            key = f'{place}: {_shown(node)} -> {_shown(changed)}'
            seen[key] += 1
            key += f' #{seen[key]}' if seen[key] > 1 else ''
            write = partial(_written, tree, slot, node, changed)
            yield Mutant(key, getattr(node, 'lineno', 0), function, write)


def _written(tree: ast.Module, slot: Slot, node: ast.AST, changed: ast.AST) -> str:
    """Return the code of a tree with one node changed."""
    _set(slot, changed)
    text = ast.unparse(ast.fix_missing_locations(tree))
    _set(slot, node)
    return text


def _sites(node: ast.AST, place: str, function: str) -> Iterator[tuple[str, str, Slot]]:
    """Yield the class and function that each node is in, the outermost function, and its slot."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        place = f'{place}.{node.name}' if place else node.name
    for field, value in ast.iter_fields(node):
        if field in ('annotation', 'returns', 'decorator_list', 'ctx', 'type_params'):
            continue
        if isinstance(node, ast.FunctionDef) and field == 'body':
            function = function or place
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST) and not _is_ignored(child):
                yield place, function, (node, field, index if isinstance(value, list) else None)
                yield from _sites(child, place, function)


def _is_ignored(node: ast.AST) -> bool:
    if isinstance(node, (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom, ast.Assert)):
        return True
    if isinstance(node, ast.keyword):
        return node.arg in IGNORED_KEYWORDS
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]) in ('msg', '__all__')
    call = node.value if isinstance(node, ast.Expr) else node
    if isinstance(node, ast.Expr) and isinstance(call, ast.Constant):
        return True  # a docstring
    return isinstance(call, ast.Call) and _name(call.func) in IGNORED_CALLS


def _changes(node: ast.AST, holder: ast.AST) -> Iterator[ast.AST]:
    """Yield what a node is replaced by."""
    if isinstance(node, ast.BinOp):
        yield from _binary(node, holder)
    elif isinstance(node, ast.Compare):
        for other in COMPARISONS[type(node.ops[0])]:
            yield ast.Compare(node.left, [other(), *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp) and not isinstance(node.operand, ast.Constant):
        yield node.operand
    elif isinstance(node, ast.Constant):
        yield from _constant(node, holder)
    elif isinstance(node, ast.Call):
        yield from _call(node)
    elif isinstance(node, ast.Dict):
        yield from _without_a_value(node)
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.Slice):
        if (node.lower is None) != (node.upper is None) and node.step is None:
            yield ast.Slice(node.upper, node.lower)
    elif isinstance(node, ast.stmt):
        yield from _statement(node)


def _binary(node: ast.BinOp, holder: ast.AST) -> Iterator[ast.AST]:
    if type(node.op) not in OPERATORS:
        return
    yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
    yield node.left
    if isinstance(node.op, COMMUTATIVE):
        yield node.right
    even = isinstance(holder, ast.BinOp) and isinstance(holder.op, ast.Pow)
    even |= isinstance(holder, ast.Attribute) and holder.attr in ('square', 'abs')
    if isinstance(node.op, ast.Div) or (isinstance(node.op, ast.Sub) and not even):
        yield ast.BinOp(node.right, node.op, node.left)


def _constant(node: ast.Constant, holder: ast.AST) -> Iterator[ast.AST]:
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        # an index past the end is found by anybody
        yield ast.Constant(0 if value == 1 and isinstance(holder, ast.Subscript) else value + 1)
    elif isinstance(value, float):
        yield ast.Constant(2 * value if value else 1.0)


def _call(node: ast.Call) -> Iterator[ast.AST]:
    name, method = _name(node.func), isinstance(node.func, ast.Attribute)
    if isinstance(node.func, ast.Attribute):
        if name in REMOVED_METHODS and ast.unparse(node.func.value) not in ('torch', 'np', 'math'):
            yield node.func.value
        if name in OTHER_NAME:
            yield _with(node, func=ast.Attribute(node.func.value, OTHER_NAME[name]))
    elif name in OTHER_NAME:
        yield _with(node, func=ast.Name(OTHER_NAME[name]))
    if name in REMOVED_FUNCTIONS and node.args:
        yield node.args[0]
    if name in ('max', 'min', 'maximum', 'minimum') and not method and len(node.args) == 2:
        yield from node.args
    if name in ('clamp', 'clip') and len(node.keywords) == 2:
        yield from (_with(node, keywords=[keyword]) for keyword in node.keywords)
    for i in range(0 if name in SYMMETRIC else len(node.args) - 1):
        args = list(node.args)
        args[i], args[i + 1] = args[i + 1], args[i]
        if ast.unparse(args[i]) != ast.unparse(args[i + 1]):
            yield _with(node, args=args)


def _without_a_value(node: ast.Dict) -> Iterator[ast.AST]:
    """Yield a mapping with one of its computed values at zero."""
    for i, value in enumerate(node.values):
        if node.keys[i] is not None and isinstance(value, (ast.Name, ast.Call, ast.BinOp)):
            values: list[ast.expr] = list(node.values)
            values[i] = ast.BinOp(value, ast.Mult(), ast.Constant(0))
            yield ast.Dict(node.keys, values)


def _statement(node: ast.stmt) -> Iterator[ast.AST]:
    if isinstance(node, ast.If):
        yield _with(node, test=ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, (ast.Expr, ast.AugAssign)) or (
        isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript)
    ):
        yield ast.Pass()
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
        if len(node.value.elts) == 2:
            yield ast.Return(ast.Tuple(node.value.elts[::-1]))
    elif isinstance(node, ast.With) and 'no_grad' in ast.unparse(node.items[0]):
        yield ast.If(ast.Constant(value=True), node.body, [])
    elif isinstance(node, ast.FunctionDef):
        kept = [d for d in node.decorator_list if 'no_grad' not in ast.unparse(d)]
        if len(kept) < len(node.decorator_list):
            yield _with(node, decorator_list=kept)


def _with(node: ast.AST, **changes: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, 'id', '')


def _shown(node: ast.AST) -> str:
    """Return the first line of a node's code; of a block, its head."""
    return ast.unparse(ast.fix_missing_locations(copy.copy(node))).strip().split('\n')[0]


def _get(slot: Slot) -> ast.AST:
    holder, field, index = slot
    value = getattr(holder, field)
    found: ast.AST = value if index is None else value[index]
    return found


def _set(slot: Slot, node: ast.AST) -> None:
    holder, field, index = slot
    if index is None:
        setattr(holder, field, node)
    else:
        getattr(holder, field)[index] = node
