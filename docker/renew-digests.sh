#!/bin/sh
# Pins the images that compose.yaml and the Dockerfiles start from: NAME:TAG becomes
# NAME:TAG@sha256:..., what the registry has under that tag now. Run it for each release, or when a
# base has mended something; then read the diff, build, test and commit.
#
#     docker/renew-digests.sh
set -eu
cd "$(dirname "$0")"
set -- compose.yaml airflow.Dockerfile gpu-worker.Dockerfile

digest() { # NAME:TAG; of all its platforms together
    if docker buildx version > /dev/null 2>&1; then
        docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$1"
    else
        skopeo inspect --no-tags --format '{{.Digest}}' "docker://$1"
    fi
}

# `image: NAME:TAG`, `ARG PYTHON=NAME:TAG`, `ARG UV=NAME:TAG`; not what is built here.
found=$(sed -nE 's/^( *image: |ARG (PYTHON|UV)=)([a-z0-9./-]+:[A-Za-z0-9._-]+)(@[^ ]*)?( .*)?$/\3/p' "$@" | sort -u)
pins=$(mktemp)
trap 'rm -f "$pins"' EXIT
for image in $found; do
    pin=$(digest "$image")
    expr "$pin" : 'sha256:[0-9a-f]\{64\}$' > /dev/null || { echo "$0: $image has no digest: $pin" >&2; exit 1; }
    printf 's#(image: |PYTHON=|UV=)%s(@[^ ]*)?( |$)#\\1%s@%s\\3#\n' "$image" "$image" "$pin" >> "$pins"
    echo "$image@$pin"
done
sed -i -E -f "$pins" "$@"
