"""How deep the tuples in a pickle are nested: hashing a deep one, as the key of a mapping, would end the process."""

import pickletools
from typing import IO, Any

MAX_DEPTH = 500
_MARK = -1
_TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")


def has_deep_tuples(file: IO[bytes]) -> bool:
    """Go through the next pickle in a file without building anything of it; the file is then after it.

    Raises:
        ValueError: it is no pickle.
        IndexError: it takes more from its stack than is there.
    """
    stack: list[int] = []  # depth of each value
    memo: dict[Any, int] = {}
    for operation, argument, _ in pickletools.genops(file):
        name = operation.name
        if name == "MARK":
            stack.append(_MARK)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo.get(argument, 0))
        elif name == "DUP":
            stack.append(stack[-1])
        else:
            deepest = _take(stack, operation)
            depth = 1 + deepest if name in _TUPLES else 0
            if depth > MAX_DEPTH:
                return True
            stack += [depth] * len(operation.stack_after)
    return False


def _take(stack: list[int], operation: pickletools.OpcodeInfo) -> int:
    """Take what an operation takes; return the depth of its deepest value."""
    before = operation.stack_before
    if pickletools.markobject not in before:
        return max((stack.pop() for _ in before), default=0)
    deepest = 0
    while (depth := stack.pop()) != _MARK:
        deepest = max(deepest, depth)
    for _ in before[: before.index(pickletools.markobject)]:  # what the marked values are added to
        stack.pop()
    return deepest
