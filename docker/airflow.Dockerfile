# Everything of Winnow but the GPU: API server, scheduler, DAG processor, triggerer, Celery worker,
# the init step, and the labelling-vendor simulator. Which one a container is, its command says.
# Build it from the repository's root:
#
#     docker build -f docker/airflow.Dockerfile -t winnow-airflow .

# The Python that the locks are resolved for and the tests run on, as in gpu-worker.Dockerfile.
ARG PYTHON=python:3.11.17-slim-bookworm@sha256:2333bd330d12de02514770b3585cad313644316047cdee24a7acfdece6de6efb
ARG UV=ghcr.io/astral-sh/uv:0.13.0@sha256:cdc6093146eb3ff6a40107b38f008b789e050e77ad87865e381d9917da55a168

FROM ${UV} AS uv

# What is only used to build stays in this stage. Wheels alone: nothing is compiled, and no package
# brings unpinned tools of its own to be built with.
FROM ${PYTHON} AS packages
COPY --from=uv /uv /usr/local/bin/
COPY docker/airflow.lock /opt/winnow/
RUN --mount=type=cache,target=/root/.cache/uv \
    export UV_LINK_MODE=copy \
    && uv venv --python /usr/local/bin/python3.11 /opt/winnow/airflow \
    && uv pip sync --no-build --compile-bytecode --python /opt/winnow/airflow /opt/winnow/airflow.lock

# Apart from the packages, which a new version leaves as they are.
FROM ${PYTHON} AS sbom
WORKDIR /opt/winnow
COPY docker/sbom.py docker/airflow.lock ./
COPY include/winnow/__init__.py winnow/
RUN python sbom.py airflow.lock > airflow.cdx.json

FROM ${PYTHON}
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 50000 --gid 0 --create-home airflow

COPY --from=packages /opt/winnow/airflow /opt/winnow/airflow
COPY --from=sbom /opt/winnow/*.lock /opt/winnow/*.cdx.json /opt/winnow/
COPY include /opt/winnow/project/include
COPY plugins /opt/winnow/project/plugins
COPY dags /opt/winnow/project/dags
COPY --chmod=755 docker/airflow.sh docker/healthy.sh docker/init.sh /opt/winnow/project/docker/

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

# build.sh adds version and revision; what Compose builds from a checkout is no release.
LABEL org.opencontainers.image.title=winnow-airflow \
    org.opencontainers.image.description="Winnow's Airflow components and labelling-vendor simulator"

# By the command that the container was started with.
HEALTHCHECK --interval=60s --timeout=50s --start-period=120s --retries=4 \
    CMD ["/opt/winnow/project/docker/healthy.sh"]

# tini reaps what a killed task leaves behind. Without -g: a stop is for the component, which ends
# its own tasks.
ENTRYPOINT ["/usr/bin/tini", "--", "/opt/winnow/project/docker/airflow.sh"]
CMD ["airflow", "version"]
