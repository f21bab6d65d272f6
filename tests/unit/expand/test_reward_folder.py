"""The code that an exported reward model carries reads a response as Winnow does, without it."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.expand.reward_folder import write_code
from winnow.style import style_figures

LOADED_THERE = {"numpy", "torch", "transformers", "tokenizers"}
marked = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "- a",
                "1. b",
                "```",
                "\n",
                "\r\n",
                "\u2028",
                "I'm sorry, but",
                "?",
                "؟",
                "٣",
                "é",
                " ",
            ]
        ),
        st.text(max_size=6),
    ),
    max_size=12,
).map("".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("exported")
    write_code(place)
    return place


@pytest.fixture(scope="module")
def style(folder: Path) -> Iterator[ModuleType]:
    """The folder's own module, loaded as Transformers loads it: as one of a package."""
    name = "exported_reward"
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
    spec = importlib.util.spec_from_file_location(f"{name}.style", folder / "style.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for each in [each for each in sys.modules if each.split(".")[0] == name]:
        del sys.modules[each]


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_its_figures_of_style_are_winnows(style: ModuleType, data: st.DataObject) -> None:
    prompt, response = data.draw(marked), data.draw(marked)
    assert style.style_figures.__module__.startswith("exported_reward")
    assert np.array_equal(
        style.style_figures(prompt, response), style_figures(prompt, response), equal_nan=True
    )


def test_it_imports_nothing_that_a_trainer_lacks(folder: Path) -> None:
    files = {file.stem: ast.parse(file.read_text()) for file in folder.glob("*.py")}
    assert "modeling_winnow" in files
    for tree in files.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.level == 1 and node.module in files
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names]
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                roots = {name.split(".")[0] for name in names}
                assert roots <= LOADED_THERE | set(sys.stdlib_module_names)
