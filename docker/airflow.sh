#!/bin/sh
# Runs a command of the image, after a look at what every component needs.
set -eu

# A component that was killed leaves its PID file, and in a restarted container the new one has the
# same PID: Airflow would take itself for running already.
rm -f "$AIRFLOW_HOME"/*.pid

# Asked here, where the answer is one line, and not by a task at midnight.
if [ -n "${AWS_SHARED_CREDENTIALS_FILE:-}" ] && [ ! -r "$AWS_SHARED_CREDENTIALS_FILE" ]; then
    echo "$0: $AWS_SHARED_CREDENTIALS_FILE cannot be read: run docker/make-secrets.sh, and leave" \
        "the files in docker/secrets readable (0644)" >&2
    exit 2
fi

exec "$@"
