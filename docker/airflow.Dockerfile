# syntax=docker/dockerfile:1
# Everything of Winnow but the GPU: API server, scheduler, DAG processor, triggerer, Celery worker,
# the init step, and the labelling-vendor simulator. Which one a container is, its command says.
# Build it from the repository's root:
#
#     docker build -f docker/airflow.Dockerfile -t winnow-airflow .

FROM astral/uv:0.13.9 AS uv

FROM debian:12.12-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 50000 --gid 0 --create-home airflow

# The same Python as the GPU worker's: the locks are resolved for 3.11, which the tests run on.
ARG PYTHON_VERSION=3.11.18
RUN --mount=from=uv,source=/uv,target=/usr/local/bin/uv \
    uv python install --no-bin --install-dir /opt/winnow/python ${PYTHON_VERSION}

COPY docker/airflow.lock /opt/winnow/
RUN --mount=from=uv,source=/uv,target=/usr/local/bin/uv \
    --mount=type=cache,target=/root/.cache/uv \
    export UV_PYTHON_INSTALL_DIR=/opt/winnow/python UV_LINK_MODE=copy \
    && uv venv --python ${PYTHON_VERSION} /opt/winnow/airflow \
    && uv pip sync --compile-bytecode --python /opt/winnow/airflow /opt/winnow/airflow.lock

COPY include /opt/winnow/project/include
COPY plugins /opt/winnow/project/plugins
COPY dags /opt/winnow/project/dags
COPY --chmod=755 docker/airflow.sh docker/init.sh /opt/winnow/project/docker/

# The commands that alarms, pages and the runbook name.
RUN printf '#!/bin/sh\nexec python -m winnow "$@"\n' > /usr/local/bin/winnow \
    && chmod 755 /usr/local/bin/winnow

# What the image is made of; no reason to change it at run time. How the processes find each other,
# and how long they wait for each other, stands in compose.yaml and helm-values.yaml.
ENV PATH=/opt/winnow/airflow/bin:$PATH \
    PYTHONPATH=/opt/winnow/project/include \
    PYTHONUNBUFFERED=1 \
    AIRFLOW_HOME=/home/airflow/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/winnow/project/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/winnow/project/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False

# Made here, so that a named volume starts with this owner.
RUN mkdir -p /home/airflow/airflow/logs /var/lib/winnow \
    && chown -R airflow:0 /home/airflow /var/lib/winnow
# By number, for Kubernetes' runAsNonRoot.
USER 50000
WORKDIR /home/airflow

# tini reaps what a killed task leaves behind. Without -g: a stop is for the component, which ends
# its own tasks.
ENTRYPOINT ["/usr/bin/tini", "--", "/opt/winnow/project/docker/airflow.sh"]
CMD ["airflow", "version"]
