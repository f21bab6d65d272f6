#!/bin/sh
# Starts the Edge worker of the queue `gpu`, or says in one line what is missing.
set -eu

: "${WINNOW_LAKE:?is not set: a folder that every worker mounts, or s3://bucket/prefix}"
: "${AIRFLOW__EDGE__API_URL:?is not set: http://HOST:PORT/edge_worker/v1/rpcapi of the API server}"
if [ -z "${AIRFLOW__API_AUTH__JWT_SECRET:-}${AIRFLOW__API_AUTH__JWT_SECRET_CMD:-}" ]; then
    echo "$0: AIRFLOW__API_AUTH__JWT_SECRET or ..._SECRET_CMD is not set: as on the API server" >&2
    exit 2
fi

# A worker that was killed leaves its PID file, and in a restarted container the new one has the
# same PID: Airflow would take itself for running already and refuse to start, for ever.
rm -f "$AIRFLOW_HOME"/*.pid

exec airflow edge worker --queues gpu "$@"
