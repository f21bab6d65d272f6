"""Names that need no preparation pass through; a package that is missing is named."""

from __future__ import annotations

import pytest

from winnow.errors import Fatal
from winnow.expand import models


def test_other_names_pass_through(tmp_path):
    assert models.prepare_model("org/model", tmp_path) == "org/model"
    assert models.prepare_model(str(tmp_path), tmp_path / "models") == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_prepared_model_is_found_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    (tmp_path / models.INSTRUCT_MODEL).mkdir()
    found = models.prepare_model(models.INSTRUCT_MODEL, tmp_path)
    assert found == str(tmp_path / models.INSTRUCT_MODEL)


@pytest.mark.parametrize("name", [models.INSTRUCT_MODEL, models.EMBEDDING_MODEL])
def test_a_missing_package_is_fatal_and_named(name, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    with pytest.raises(Fatal, match=r"Package .* is not installed"):
        models.prepare_model(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_fails_half_way_leaves_nothing(tmp_path, monkeypatch):
    def fail(source, file, target):
        target.mkdir()
        (target / "half").write_text("x")
        raise OSError("disk full")

    monkeypatch.setattr(models, "_package_folder", lambda package: tmp_path)
    monkeypatch.setattr(models, "_unpack_gguf", fail)
    with pytest.raises(OSError, match="disk full"):
        models.prepare_model(models.INSTRUCT_MODEL, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_twin_that_was_quicker_is_kept(tmp_path, monkeypatch):
    target = tmp_path / models.INSTRUCT_MODEL

    def while_a_twin_finishes(source, file, unfinished):
        for folder, text in ((unfinished, "mine"), (target, "twin")):
            folder.mkdir()
            (folder / "weights").write_text(text)

    monkeypatch.setattr(models, "_package_folder", lambda package: tmp_path)
    monkeypatch.setattr(models, "_unpack_gguf", while_a_twin_finishes)
    assert models.prepare_model(models.INSTRUCT_MODEL, tmp_path) == str(target)
    assert (target / "weights").read_text() == "twin"
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_local_names_need_no_hub(tmp_path):
    assert models.is_local(models.INSTRUCT_MODEL)
    assert models.is_local(str(tmp_path))
    assert not models.is_local("org/model")
