"""Make PyTorch's arithmetic on a CPU the same in every process.

Intel's MKL chooses the kernel of an elementwise function when it is first called. If that first
call runs on several threads at once, one of them may use a kernel with half of the digits, for
that call only (pytorch/pytorch#188792). Seen here: in some processes the table of cosines that the
model computes once at start-up came out different, and with it every response. A first call on a
single number has one thread.
"""

from __future__ import annotations

_FUNCTIONS = [
    "acos",
    "asin",
    "atan",
    "cos",
    "cosh",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "expm1",
    "lgamma",
    "log",
    "log10",
    "log1p",
    "log2",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
]


def settle_arithmetic() -> None:
    """Call each elementwise function once on one thread; do so before a model is loaded."""
    import torch

    for dtype in (torch.float32, torch.float64):
        number = torch.full((1,), 0.5, dtype=dtype)
        for name in _FUNCTIONS:
            getattr(number, name)()
