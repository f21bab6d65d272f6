#!/bin/sh
# Copies what nobody can draw again, Airflow's database and the keys, into docker/backups or the
# FOLDER named. Each file comes whole or not at all, and only its owner can read it.
#
#     docker/backup.sh [FOLDER]
set -eu
umask 077

mkdir -p "${1:-$(dirname "$0")/backups}"
folder=$(cd "${1:-$(dirname "$0")/backups}" && pwd)
cd "$(dirname "$0")"
chmod 700 "$folder"
# What an earlier try left may have other rights.
rm -f "$folder"/*.new

docker compose exec -T postgres pg_dump -U airflow -Fc airflow > "$folder/airflow.dump.new"
mv "$folder/airflow.dump.new" "$folder/airflow.dump"

# The dump's connections are read with secrets/fernet_key.
set -- secrets
[ ! -f .env ] || set -- secrets .env
tar czf "$folder/secrets.tgz.new" "$@"
mv "$folder/secrets.tgz.new" "$folder/secrets.tgz"

echo "Backed up to $folder: airflow.dump, secrets.tgz. Whoever has these files has every key."
