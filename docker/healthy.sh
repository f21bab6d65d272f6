#!/bin/sh
# Whether a component is well, for compose.yaml, helm-values.yaml and the image itself; without a name
# it is the component that this container was started as, and one that is no service is well.
#
#     docker/healthy.sh [api-server | scheduler | dag-processor | triggerer | worker | simulator]
set -eu

answers() { # port/path
    python -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=10)' "http://localhost:$1"
}

case "${1:-$(tr '\0' ' ' < /proc/1/cmdline)}" in
    *api-server*) answers 8080/api/v2/version ;;
    *scheduler*) answers 8974/health ;;
    *dag-processor*) airflow jobs check --local --job-type DagProcessorJob ;;
    *triggerer*) airflow jobs check --local --job-type TriggererJob ;;
    *worker*)
        celery --app airflow.providers.celery.executors.celery_executor.app inspect ping \
            --destination "celery@$(hostname)"
        ;;
    *simulator*) answers 8790/health ;;
    *) [ "$#" = 0 ] || { echo "$0: there is no component $1" >&2; exit 2; } ;;
esac
