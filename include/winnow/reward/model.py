"""A reward model as it is stored: which features it reads, how it projects them, what it learnt.

Always holds: `to_bytes` of equal models are equal bytes, `from_bytes` runs no code from the file,
and a model read back gives the very same numbers.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from winnow.errors import Corrupt
from winnow.reward.posterior import Posterior, content_digest
from winnow.reward.projection import Projection, centre

FloatArray = NDArray[np.float64]

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip entry can carry; a real one would make equal models differ."""


@dataclass(frozen=True, slots=True, eq=False)
class RewardModel:
    """Projection and posterior, with the version of the raw features that they belong to."""

    projection: Projection
    posterior: Posterior
    feature_version: str

    def features(self, raw_nc: ArrayLike) -> FloatArray:
        """Raw features of one prompt's responses, projected and centred: what `select` reads."""
        return centre(self.projection.apply(raw_nc))

    @property
    def version(self) -> str:
        """SHA-256 of the contents, 64 hexadecimal digits."""
        text = np.frombuffer(self.feature_version.encode(), dtype=np.uint8).astype(np.float64)
        arrays = _arrays(self)
        return content_digest(text, *(arrays[name] for name in sorted(arrays)))

    def to_bytes(self) -> bytes:
        """The model as an uncompressed .npz file without pickles."""
        entries = {**_arrays(self), "feature_version": np.array(self.feature_version)}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name, array in sorted(entries.items()):
                entry = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
                entry.create_system = 3  # Unix on any machine; the default is the writer's own.
                with archive.open(entry, "w") as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> RewardModel:
        """Read what `to_bytes` wrote.

        Raises:
            Corrupt: The bytes are not a stored reward model.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            prior_precision, n_labels, side, length = arrays["scalars"].tolist()
            return cls(
                Projection(
                    arrays["projection_mean"],
                    arrays["projection_inverse_scale"],
                    arrays["projection_components"],
                ),
                Posterior(
                    arrays["posterior_mean"],
                    arrays["posterior_cov"],
                    prior_precision,
                    int(n_labels),
                    side,
                    length,
                ),
                str(arrays["feature_version"]),
            )
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise Corrupt(
                f"{len(data)} bytes are not a stored reward model ({error}): publish it again "
                "by refitting on the labels."
            ) from error


def _arrays(model: RewardModel) -> dict[str, FloatArray]:
    projection, posterior = model.projection, model.posterior
    scalars = [
        posterior.prior_precision,
        posterior.n_labels,
        posterior.side,
        posterior.length,
    ]
    arrays = {
        "posterior_cov": posterior.cov_dd,
        "posterior_mean": posterior.mean_d,
        "projection_components": projection.components_mk,
        "projection_inverse_scale": projection.inverse_scale_c,
        "projection_mean": projection.mean_c,
        "scalars": np.array(scalars),
    }
    return {name: np.ascontiguousarray(array, dtype="<f8") for name, array in arrays.items()}
