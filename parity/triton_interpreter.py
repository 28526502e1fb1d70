"""A fix of Triton's interpreter, which multiplies the bit patterns of bfloat16 numbers in place of their values.

With it the Triton kernels can be compared with float64 on a machine without a GPU; imported where TRITON_INTERPRET=1.
"""

from typing import Any

from triton import language as tl
from triton.runtime import interpreter


def multiply_values_of_bfloat16() -> None:
    """Replace the interpreter's ``tl.dot`` by one that converts its operands first."""
    multiply = interpreter.InterpreterBuilder.create_dot

    def create_dot(self: Any, a: Any, b: Any, *args: Any) -> Any:
        return multiply(self, *(_as_float32(self, operand) for operand in (a, b)), *args)

    interpreter.InterpreterBuilder.create_dot = create_dot


def _as_float32(builder: Any, operand: Any) -> Any:
    return builder.create_fp_ext(operand, tl.float32) if operand.dtype.scalar == tl.bfloat16 else operand
