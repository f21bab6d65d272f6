"""What an environment of an image is made of: a CycloneDX document, from the lock.

    python docker/sbom.py docker/airflow.lock > airflow.cdx.json

It lists what pip or uv install. Packages of the base image are not in the lock: a scanner, or
`docker buildx build --sbom=true`, adds those.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from winnow import __version__


def document(lock: Path) -> dict[str, object]:
    """The document of a lock whose lines are `name==version`, with or without a marker.

    It tells no date and draws no number, so one lock is one document.

    Raises:
        SystemExit: a line is not an exact pin.
    """
    components = []
    for line in lock.read_text().splitlines():
        name, pinned, version = line.partition(" ;")[0].strip().partition("==")
        if not pinned:
            raise SystemExit(f"{lock}: {line} is no exact pin")
        purl = f"pkg:pypi/{name}@{version.replace('+', '%2B')}"
        components.append(
            {
                "type": "library",
                "bom-ref": purl,
                "name": name,
                "version": version,
                "purl": purl,
            }
        )
    made = {"type": "application", "name": f"winnow-{lock.stem}", "version": __version__}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"bom-ref": made["name"], **made}},
        "components": components,
    }


if __name__ == "__main__":
    print(json.dumps(document(Path(sys.argv[1])), indent=1))
