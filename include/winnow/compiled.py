"""Loops as machine code (Numba), where a chain of NumPy calls would spend its time between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """The function as machine code, made at its first call and kept on disk for later processes.

    It holds no lock. It divides by 0 as NumPy does and takes no operation to give NaN, without
    which its loops would not run on vectors; sums keep their order, so that their bits do not
    depend on the machine.
    """
    to_machine_code = njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "nsz"})
    return cast(Function, to_machine_code(function))
