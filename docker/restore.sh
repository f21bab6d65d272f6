#!/bin/sh
# Brings back what backup.sh copied, onto a machine where nothing of Airflow runs yet. The lake must be
# back too before `docker compose up -d` starts the rest: on an empty one nights begin anew, and buy.
#
#     docker/restore.sh [FOLDER]
set -eu
umask 077

folder=$(cd "${1:-$(dirname "$0")/backups}" && pwd)
cd "$(dirname "$0")"

# With the rights that they had: containers read them as another user, in a folder closed to others.
tar xpzf "$folder/secrets.tgz"
docker compose up -d --wait postgres
docker compose exec -T postgres pg_restore -U airflow -d airflow --clean --if-exists \
    < "$folder/airflow.dump"

echo "Restored from $folder; now bring back the lake (docs/deployment.md), and then: docker compose up -d"
