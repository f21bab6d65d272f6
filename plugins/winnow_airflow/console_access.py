"""Who may see the pages: who may read Winnow's DAGs, their runs and their tasks in Airflow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.batch_apis import IsAuthorizedDagRequest
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException

from winnow.stages.tasks import DAG_OF

SHOWN = (None, DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE)
"""What the pages show of each DAG; None is the DAG itself."""


def may_read(user: GetUserDep) -> BaseUser:
    """The user who is logged in.

    Raises:
        HTTPException: 401 without a login, 403 for who may not read one of the DAGs.
    """
    if not _is_allowed(user, SHOWN):
        raise HTTPException(403, "You may not read Winnow's DAGs and their runs in Airflow.")
    return user


def may_read_logs(user: BaseUser) -> bool:
    """Whether the errors in the logs of tasks may be shown."""
    return _is_allowed(user, (DagAccessEntity.TASK_LOGS,))


Reader = Annotated[BaseUser, Depends(may_read)]


def _is_allowed(user: BaseUser, entities: Sequence[DagAccessEntity | None]) -> bool:
    teams = DagModel.get_dag_id_to_team_name_mapping(list(DAG_OF.values()))
    requests: list[IsAuthorizedDagRequest] = [
        {
            "method": "GET",
            "access_entity": entity,
            "details": DagDetails(id=dag, team_name=teams.get(dag)),
        }
        for dag in DAG_OF.values()
        for entity in entities
    ]
    return bool(get_auth_manager().batch_is_authorized_dag(requests, user=user))
