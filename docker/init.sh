#!/bin/sh
# Makes a new deployment ready, or brings an old one up to this image; may be run any number of
# times. The other containers wait for it to end.
set -eu

secrets=${WINNOW_SECRETS:-/run/secrets}

# A database that knows bytes alone, as Postgres makes one where no language is set, would fail each
# page and log that holds another letter.
python - <<'PYTHON'
from airflow.configuration import conf
from sqlalchemy import create_engine, text

engine = create_engine(conf.get_mandatory_value("database", "sql_alchemy_conn"))
if engine.dialect.name == "postgresql":
    with engine.connect() as connection:
        encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise SystemExit(f"Airflow's database has the encoding {encoding}: make it with ENCODING 'UTF8'")
PYTHON
airflow db migrate
case "${WINNOW_GPU_SLOTS:-1}" in
    *[!0-9]* | ?????*) echo "WINNOW_GPU_SLOTS is $WINNOW_GPU_SLOTS: write how many GPUs." >&2; exit 1 ;;
esac
airflow pools set gpu "${WINNOW_GPU_SLOTS:-1}" "Slots for generation: one a GPU"
airflow connections import "$secrets/connections.json" --overwrite

# A person who is there already keeps the password. It is handed over inside one process: a command
# line can be read by everybody on the machine.
if ! airflow users list --output plain | awk '{ print $2 }' | grep -qx "$WINNOW_ADMIN"; then
    python - "$secrets/admin_password" <<'PYTHON'
import os
import sys
from pathlib import Path

from airflow.__main__ import main

name, password = os.environ["WINNOW_ADMIN"], Path(sys.argv[1]).read_text().strip()
who = ["--username", name, "--firstname", "Winnow", "--lastname", "Admin"]
where = ["--email", f"{name}@localhost", f"--password={password}"]
sys.argv = ["airflow", "users", "create", "--role", "Admin", *who, *where]
main()
PYTHON
fi

# The bucket of the lake, and whether the store keeps its promises: better now than after a night.
python - <<'PYTHON'
import os

from winnow.lake import S3Lake, open_lake
from winnow.publish.probe import require_conditional_writes

lake = open_lake(os.environ["WINNOW_LAKE"])
if isinstance(lake, S3Lake):
    try:
        lake.client.head_bucket(Bucket=lake.bucket)
    except lake.client.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise SystemExit(f"The bucket {lake.bucket} of the lake cannot be reached: {error}")
        lake.client.create_bucket(Bucket=lake.bucket)
require_conditional_writes(lake)
PYTHON

echo "Winnow is ready."
