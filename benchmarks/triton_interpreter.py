"""Mends Triton's interpreter, which multiplies the bit patterns of bfloat16 numbers in place of their values."""

from triton import language as tl
from triton.runtime import interpreter


def multiply_values_of_bfloat16() -> None:
    """Replace the interpreter's ``tl.dot`` by one that converts its operands first."""
    multiply = interpreter.InterpreterBuilder.create_dot

    def create_dot(self, a, b, *args):
        return multiply(self, *(_as_float32(self, operand) for operand in (a, b)), *args)

    interpreter.InterpreterBuilder.create_dot = create_dot


def _as_float32(builder, operand):
    return builder.create_fp_ext(operand, tl.float32) if operand.dtype.scalar == tl.bfloat16 else operand
