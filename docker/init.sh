#!/bin/sh
# Makes a new deployment ready, or brings an old one up to this image; may be run any number of
# times. The other containers wait for it to end.
set -eu

secrets=${WINNOW_SECRETS:-/run/secrets}

airflow db migrate
airflow pools set gpu "${WINNOW_GPU_SLOTS:-1}" "Slots for generation: one a GPU"
airflow connections import "$secrets/connections.json" --overwrite

# A person who is there already keeps the password.
if ! airflow users list --output plain | awk '{ print $2 }' | grep -qx "$WINNOW_ADMIN"; then
    airflow users create --role Admin --username "$WINNOW_ADMIN" --firstname Winnow \
        --lastname Admin --email "$WINNOW_ADMIN@localhost" \
        --password "$(cat "$secrets/admin_password")"
fi

# The bucket of the lake, and whether the store keeps its promises: better now than after a night.
python - <<'PYTHON'
import os
from urllib.parse import urlparse

import boto3

from winnow.lake import open_lake
from winnow.publish.probe import require_conditional_writes

uri = os.environ["WINNOW_LAKE"]
if uri.startswith("s3://"):
    store, bucket = boto3.client("s3"), urlparse(uri).netloc
    try:
        store.head_bucket(Bucket=bucket)
    except store.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise SystemExit(f"The bucket {bucket} of the lake cannot be reached: {error}")
        store.create_bucket(Bucket=bucket)
require_conditional_writes(open_lake(uri))
PYTHON

echo "Winnow is ready."
