#!/bin/sh
# Draws every secret of a deployment into docker/secrets, once; a file that is there stays as it is.
# To use a database, a broker, a vendor or a store of your own, edit its file before the start.
set -eu

folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
# The folder keeps other users of this machine out; the files themselves are read in containers by
# another user (50000), and Compose mounts them with the rights they have here.
chmod 700 "$folder"

draw() { # bytes
    head -c "$1" /dev/urandom | base64 | tr -d '\n=' | tr '+/' '-_'
}

keep() { # name; the content comes by stdin
    if [ ! -s "$folder/$1" ]; then
        cat > "$folder/$1.new"
        chmod 644 "$folder/$1.new"
        mv "$folder/$1.new" "$folder/$1"
    fi
}

printf '%s' "$(draw 24)" | keep postgres_password
printf '%s' "$(draw 24)" | keep redis_password
printf '%s' "$(draw 12)" | keep admin_password
printf '%s' "$(draw 48)" | keep jwt_secret
printf '%s' "$(draw 48)" | keep session_key
printf '%s=' "$(draw 32)" | keep fernet_key
printf '%s' "$(draw 48)" | keep simulator_token
printf '%s' "$(draw 30)" | keep store_key

postgres=$(cat "$folder/postgres_password")
printf 'postgresql+psycopg2://airflow:%s@postgres:5432/airflow' "$postgres" | keep database_url
printf 'redis://:%s@redis:6379/0' "$(cat "$folder/redis_password")" | keep broker_url

# Airflow's connections: the labelling vendor first.
keep connections.json <<JSON
{
  "winnow_vendor": {
    "conn_type": "http",
    "host": "vendor-simulator",
    "port": 8790,
    "password": "$(cat "$folder/simulator_token")"
  }
}
JSON

# The object store's one user, as the store reads it and as boto3 does.
store=$(cat "$folder/store_key")
keep object_store.json <<JSON
{
  "identities": [
    {
      "name": "winnow",
      "credentials": [{"accessKey": "winnow", "secretKey": "$store"}],
      "actions": ["Admin", "Read", "Write", "List", "Tagging"]
    }
  ]
}
JSON
keep lake_credentials <<INI
[default]
aws_access_key_id = winnow
aws_secret_access_key = $store
INI

echo "Secrets are in $folder; the UI's password is in admin_password."
