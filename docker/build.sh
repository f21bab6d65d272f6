#!/bin/sh
# Builds both images of this checkout with Docker or Podman, as winnow-NAME:VERSION and :latest; their
# labels say version and revision. `make images` also tries what they hold.
#
#     docker/build.sh [airflow | gpu-worker]
#
# PYTHON and UV, if set, name other images than the Dockerfiles to start from.
set -eu
cd "$(dirname "$0")/.."

if docker info > /dev/null 2>&1; then
    build() { docker build "$@"; }
elif command -v podman > /dev/null; then
    # Its own format has no health checks, and its older releases look for one .dockerignore only.
    build() { podman build --format docker --ignorefile "$2.dockerignore" "$@"; }
else
    echo "$0: no Docker engine answers and there is no podman" >&2
    exit 2
fi

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' include/winnow/__init__.py)
revision=$(git describe --always --dirty --abbrev=40 --exclude '*')
# As labels and not as build arguments: Podman takes a cached step for a new one's, whatever its
# arguments are.
label=org.opencontainers.image
bases="${PYTHON:+--build-arg PYTHON=$PYTHON} ${UV:+--build-arg UV=$UV}"
for name in ${1:-airflow gpu-worker}; do
    # shellcheck disable=SC2086  # words of their own, or none
    build -f "docker/$name.Dockerfile" $bases -t "winnow-$name:$version" -t "winnow-$name:latest" \
        --label "$label.version=$version" --label "$label.revision=$revision" .
done
