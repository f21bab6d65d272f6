# The machine on which Airflow's tasks of the queue `gpu` run: an Edge worker, and vLLM beside it in
# an environment of its own. One container a GPU. Build it from the repository's root:
#
#     docker build -f docker/gpu-worker.Dockerfile -t winnow-gpu-worker .
#
# The worker calls Airflow's API server over HTTP and nothing calls it: no port, no database.

# The Python that the locks are resolved for and the tests run on, as in airflow.Dockerfile.
ARG PYTHON=python:3.11.17-slim-bookworm@sha256:2333bd330d12de02514770b3585cad313644316047cdee24a7acfdece6de6efb
ARG UV=ghcr.io/astral-sh/uv:0.13.0@sha256:cdc6093146eb3ff6a40107b38f008b789e050e77ad87865e381d9917da55a168

FROM ${UV} AS uv

# What is only used to build stays in these stages. Wheels alone: nothing is compiled, and no package
# brings unpinned tools of its own to be built with. Bytecode now: the user `airflow` may not write
# it, and every shard starts a new process.
FROM ${PYTHON} AS engine
COPY --from=uv /uv /usr/local/bin/
COPY docker/gpu-worker-engine.lock /opt/winnow/
RUN --mount=type=cache,target=/root/.cache/uv \
    export UV_LINK_MODE=copy \
    && uv venv --python /usr/local/bin/python3.11 /opt/winnow/engine \
    && uv pip sync --no-build --compile-bytecode --python /opt/winnow/engine \
        /opt/winnow/gpu-worker-engine.lock

FROM ${PYTHON} AS packages
COPY --from=uv /uv /usr/local/bin/
COPY docker/gpu-worker-airflow.lock /opt/winnow/
RUN --mount=type=cache,target=/root/.cache/uv \
    export UV_LINK_MODE=copy \
    && uv venv --python /usr/local/bin/python3.11 /opt/winnow/airflow \
    && uv pip sync --no-build --compile-bytecode --python /opt/winnow/airflow \
        /opt/winnow/gpu-worker-airflow.lock

# Apart from the packages, which a new version leaves as they are.
FROM ${PYTHON} AS sbom
WORKDIR /opt/winnow
COPY docker/sbom.py docker/gpu-worker-engine.lock docker/gpu-worker-airflow.lock ./
COPY include/winnow/__init__.py winnow/
RUN for lock in gpu-worker-engine gpu-worker-airflow; do \
        python sbom.py $lock.lock > $lock.cdx.json || exit 1; \
    done

# CUDA comes with torch's wheels, once is enough; the driver comes from the host.
FROM ${PYTHON}
# gcc is no left-over: Triton compiles a launcher the first time a kernel runs. tini: see ENTRYPOINT.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 50000 --gid 0 --create-home airflow

# The engine first: it is the largest layer and changes least.
COPY --from=engine /opt/winnow/engine /opt/winnow/engine
COPY --from=packages /opt/winnow/airflow /opt/winnow/airflow
COPY --from=sbom /opt/winnow/*.lock /opt/winnow/*.cdx.json /opt/winnow/
COPY include /opt/winnow/project/include
COPY plugins /opt/winnow/project/plugins
COPY dags /opt/winnow/project/dags
COPY --chmod=755 docker/gpu-worker.sh /opt/winnow/gpu-worker.sh

# What the image is made of; no reason to change it at run time.
ENV PATH=/opt/winnow/airflow/bin:$PATH \
    # The package `winnow` for both environments; its campaigns lie beside it.
    PYTHONPATH=/opt/winnow/project/include \
    PYTHONUNBUFFERED=1 \
    AIRFLOW_HOME=/home/airflow/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/winnow/project/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/winnow/project/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST='[{"name":"winnow","classpath":"winnow_airflow.bundle.CampaignBundle","kwargs":{"refresh_interval":20}}]' \
    AIRFLOW__CORE__EXECUTOR=airflow.providers.edge3.executors.EdgeExecutor \
    WINNOW_ENGINE_PYTHON=/opt/winnow/engine/bin/python \
    WINNOW_MODELS=/var/lib/winnow/models \
    HF_HOME=/var/lib/winnow/cache/huggingface \
    XDG_CACHE_HOME=/var/lib/winnow/cache \
    # Every draw is seeded, which FlashInfer's sampler cannot do; vLLM would still compile it at
    # each start, with an nvcc that is not here.
    VLLM_USE_FLASHINFER_SAMPLER=0 \
    # What NVIDIA's runtime brings in from the host, and refuses to start on: torch 2.13.0 is built
    # with CUDA 13.0 (nvidia-cuda-runtime 13.0.96 in the lock), a driver of the 580 branch or newer.
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_REQUIRE_CUDA=cuda>=13.0

# What a person may set; gpu-worker.env.example explains it. Credentials have no default.
# One task: vLLM takes a whole GPU. It has 540 s to finish when the worker is stopped and 30 s more
# to end after SIGTERM, so start the container with --stop-timeout 600.
# A task lives through two minutes without an API server (30 heartbeats, 5 s apart), and through a
# restart of the object store.
ENV AIRFLOW__EDGE__WORKER_CONCURRENCY=1 \
    AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS=30 \
    AIRFLOW__WORKERS__EXECUTION_API_RETRIES=10 \
    AWS_RETRY_MODE=standard \
    AWS_MAX_ATTEMPTS=8 \
    AIRFLOW__EDGE__DRAIN_TIMEOUT_SEC=540 \
    AIRFLOW__EDGE__DRAIN_KILL_GRACE_SEC=30 \
    WINNOW_CAMPAIGNS=/opt/winnow/project/include/campaigns

# Made here, so that a named volume starts with this owner.
RUN mkdir -p /home/airflow/airflow /var/lib/winnow/models /var/lib/winnow/cache \
    && chown -R airflow:0 /home/airflow /var/lib/winnow
# Prepared models; and what is downloaded (Hugging Face) or compiled (vLLM) once.
VOLUME ["/var/lib/winnow/models", "/var/lib/winnow/cache"]
# By number, for Kubernetes' runAsNonRoot.
USER 50000
WORKDIR /home/airflow

# build.sh adds version and revision; what Compose builds from a checkout is no release.
LABEL org.opencontainers.image.title=winnow-gpu-worker \
    org.opencontainers.image.description="Winnow's Edge worker with vLLM, one container a GPU"

# The worker answers and the GPU is there: one that fell off the bus fails every task it takes.
HEALTHCHECK --interval=60s --timeout=45s --start-period=120s --retries=3 \
    CMD airflow edge status >/dev/null && nvidia-smi -L >/dev/null

# SIGINT drains: no new task, the running one is finished. SIGTERM would kill it at once.
STOPSIGNAL SIGINT
# tini reaps what a killed generation process leaves behind. Without -g: the signal is for the
# worker, not for its tasks.
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["/opt/winnow/gpu-worker.sh"]
