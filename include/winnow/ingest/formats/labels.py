"""Names of labels, which Hugging Face's datasets keep in the schema's metadata alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa


def labels_of(schema: pa.Schema) -> Mapping[str, Any]:
    """The features of columns that hold labels as numbers (`ClassLabel`), at any depth; by name."""
    about = (schema.metadata or {}).get(b"huggingface", b"")
    if b"ClassLabel" not in about:
        return {}
    try:
        features = json.loads(about)["info"]["features"]
        return {name: of for name, of in features.items() if "ClassLabel" in json.dumps(of)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}  # Of a stranger's metadata nothing is known.


def named(value: Any, feature: Any) -> Any:
    """A value with the names of its labels; a number without a name, such as -1, is none."""
    if isinstance(feature, list) and len(feature) == 1:
        feature = {"feature": feature[0]}
    if value is None or not isinstance(feature, Mapping):
        return value
    names = feature.get("names")
    if feature.get("_type") == "ClassLabel" and isinstance(names, list):
        known = isinstance(value, int) and 0 <= value < len(names)
        return names[value] if known else None
    if isinstance(value, list) and "feature" in feature:
        return [named(each, feature["feature"]) for each in value]
    if isinstance(value, dict):
        # A sequence of objects is an object of lists in older versions.
        inner = feature.get("feature")
        if isinstance(inner, Mapping) and "_type" not in inner:
            return {k: named(v, {"feature": inner.get(k)}) for k, v in value.items()}
        return {k: named(v, feature.get(k)) for k, v in value.items()}
    return value
