"""A reward model as it is stored: which features it reads, how it projects them, what it learnt.

It holds one head for each dimension that is asked about (helpfulness, harmlessness, ...), each a
linear `Posterior` or an `Ensemble`, at the temperature that its rewards have already been given.

Always holds: `to_bytes` of equal models are equal bytes, in whatever order heads were named;
`from_bytes` runs no code from the file; a model read back gives the very same numbers.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from winnow.arrays import FloatArray
from winnow.errors import Corrupt, Fatal
from winnow.reward.blocks import REDUCED, Block
from winnow.reward.ensemble import Ensemble
from winnow.reward.judges import Teachers
from winnow.reward.posterior import Head, Posterior, content_digest, with_prefix
from winnow.reward.projection import Projection, centre

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip entry can carry; a real one would make equal models differ."""

OVERALL = "overall"
"""Name of the head that learns from the labels of all dimensions, and speaks for the model."""

_KINDS: dict[str, type[Ensemble] | type[Posterior]] = {h.kind: h for h in (Ensemble, Posterior)}


@dataclass(frozen=True, slots=True, eq=False)
class RewardModel:
    """Projection and heads, with the version of the raw features that they belong to.

    Attributes:
        heads: What is believed of each dimension, by its name.
        teachers: People and judges as they were told apart, of the heads of which a judge spoke;
            not at the heads' temperature.

    Raises:
        Fatal: There is no head.
    """

    projection: Projection
    heads: Mapping[str, Head]
    feature_version: str
    teachers: Mapping[str, Teachers] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.heads:
            raise Fatal("A reward model needs a head: fit one, or use a prior before any label.")

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the heads, sorted."""
        return tuple(sorted(self.heads))

    @property
    def posterior(self) -> Head:
        """The head of "overall", or else of the first dimension by name."""
        return self.heads.get(OVERALL, self.heads[self.dimensions[0]])

    @property
    def people_heads(self) -> dict[str, Head]:
        """The heads as people's votes alone have them, by which people's pairs are chosen.

        A judge errs where its model does not say so: people are asked as if none had spoken.
        """
        alone = {
            name: told.alone.at_temperature(self.heads[name].temperature)
            for name, told in self.teachers.items()
        }
        return {**self.heads, **alone}

    @property
    def n_columns(self) -> int:
        """Leading raw columns that it reads: one of release 0.3 reads the stored ones alone."""
        return len(self.projection.mean_c)

    def features(self, raw_nc: ArrayLike) -> FloatArray:
        """Raw features of one prompt's responses, projected and centred: what `select` reads."""
        return centre(self.projection.apply(raw_nc))

    @property
    def version(self) -> str:
        """SHA-256 of the contents, 64 hexadecimal digits."""
        return _version(_texts(self), _arrays(self))

    def to_bytes(self) -> bytes:
        """The model as an uncompressed .npz file without pickles."""
        return npz_bytes({**_arrays(self), **_texts(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> RewardModel:
        """Read what `to_bytes` wrote.

        Raises:
            Corrupt: The bytes are not a stored reward model.
        """
        try:
            arrays = npz_entries(data)
            projection = projection_of(arrays)
            heads = {
                str(dimension): _KINDS[str(kind)].from_arrays(with_prefix(arrays, f"head{k}_"))
                for k, (dimension, kind) in enumerate(
                    zip(arrays["dimensions"], arrays["kinds"], strict=True)
                )
            }
            told = arrays["teachers"].tolist() if "teachers" in arrays else []
            teachers = {
                name: Teachers.from_arrays(
                    with_prefix(arrays, f"teachers{k}_"), arrays[f"names{k}"].tolist()
                )
                for k, name in enumerate(told)
            }
            return cls(projection, heads, str(arrays["feature_version"]), teachers)
        except (
            OSError,
            ValueError,
            KeyError,
            IndexError,
            TypeError,
            EOFError,
            Fatal,
            zipfile.BadZipFile,
        ) as error:
            raise Corrupt(
                f"{len(data)} bytes are not a stored reward model ({error}): publish it again "
                "by refitting on the labels."
            ) from error


def version_as_stored(data: bytes) -> str:
    """`version` of the model as it was stored, also by a release that stored other arrays."""
    arrays = npz_entries(data)
    texts = {name: array.tolist() for name, array in arrays.items() if array.dtype.kind == "U"}
    return _version(texts, {name: arrays[name] for name in arrays.keys() - texts.keys()})


def _version(texts: Mapping[str, str | list[str]], arrays: Mapping[str, FloatArray]) -> str:
    bytes_of_text = np.frombuffer(repr(sorted(texts.items())).encode(), dtype=np.uint8)
    return content_digest(
        bytes_of_text.astype(np.float64), *(arrays[name] for name in sorted(arrays))
    )


def npz_bytes(entries: Mapping[str, Any]) -> bytes:
    """Arrays and texts as an uncompressed .npz file without pickles; equal ones, equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, value in sorted(entries.items()):
            entry = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            entry.create_system = 3  # Unix on any machine; the default is the writer's own.
            with archive.open(entry, "w") as file:
                np.lib.format.write_array(file, np.asarray(value), allow_pickle=False)
    return buffer.getvalue()


def npz_entries(data: bytes) -> dict[str, Any]:
    """What `npz_bytes` wrote."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _texts(model: RewardModel) -> dict[str, str | list[str]]:
    """Everything stored that is not a number; heads are numbered in the order of their names."""
    return {
        **block_names(model.projection),
        "dimensions": list(model.dimensions),
        "feature_version": model.feature_version,
        "kinds": [model.heads[name].kind for name in model.dimensions],
        # A model of people alone is stored as before there were judges.
        **({"teachers": sorted(model.teachers)} if model.teachers else {}),
        **{
            f"names{k}": [judge.name for judge in model.teachers[name].judges]
            for k, name in enumerate(sorted(model.teachers))
        },
    }


def _arrays(model: RewardModel) -> dict[str, FloatArray]:
    arrays = projection_arrays(model.projection)
    for k, dimension in enumerate(model.dimensions):
        contents = model.heads[dimension].arrays()
        arrays.update({f"head{k}_{name}": array for name, array in contents.items()})
    for k, dimension in enumerate(sorted(model.teachers)):
        contents = model.teachers[dimension].arrays()
        arrays.update({f"teachers{k}_{name}": array for name, array in contents.items()})
    return {name: np.ascontiguousarray(array, dtype="<f8") for name, array in arrays.items()}


def block_names(projection: Projection) -> dict[str, list[str]]:
    """The texts of a projection, by name as they are stored."""
    return {"blocks": [block.name for block in projection.raw_blocks]}


def projection_arrays(projection: Projection) -> dict[str, FloatArray]:
    """Its numbers, by name as they are stored; `projection_of` reads both."""
    arrays = {
        "projection_block_sizes": np.array([b.size for b in projection.raw_blocks], np.float64),
        "projection_inverse_scale": projection.inverse_scale_c,
        "projection_mean": projection.mean_c,
    }
    for k, loadings_mk in enumerate(projection.components):
        arrays[f"projection_components{k}"] = loadings_mk
    return arrays


def projection_of(arrays: Mapping[str, Any]) -> Projection:
    """A projection from stored arrays and texts."""
    moments = arrays["projection_mean"], arrays["projection_inverse_scale"]
    if "blocks" not in arrays:  # Until 0.3: an embedding, and the form of the response.
        loadings_mk = arrays["projection_components"]
        sizes = len(loadings_mk), len(moments[0]) - len(loadings_mk)
        blocks = tuple(Block(*each) for each in zip(("embedding", "style"), sizes, strict=True))
        return Projection(*moments, blocks, (loadings_mk,))
    sizes = arrays["projection_block_sizes"].astype(int).tolist()
    blocks = tuple(
        Block(str(name), size) for name, size in zip(arrays["blocks"], sizes, strict=True)
    )
    n_reduced = sum(block.kind in REDUCED for block in blocks)
    components = tuple(arrays[f"projection_components{k}"] for k in range(n_reduced))
    return Projection(*moments, blocks, components)
