"""Who may see which campaign's pages: who may read its DAGs, their runs and their tasks in Airflow.

Airflow is asked once a request which DAGs the user may read. It alone knows their teams, if there
are any: asked of a DAG without its team, it says yes to users of other teams. A DAG that Airflow
does not know (of a campaign that is new, or gone for long) has no team to ask with, so that with
teams nobody reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.batch_apis import IsAuthorizedDagRequest
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.configuration import conf
from airflow.models.dag import DagModel
from airflow.utils.session import create_session
from fastapi import Depends, HTTPException
from sqlalchemy import select

from winnow.stages.tasks import dag_ids
from winnow_airflow.console_campaigns import known_campaigns

SHOWN = (None, DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE)
"""What the pages show of each DAG; None is the DAG itself."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who is logged in, and the campaigns that they may read, by name in order."""

    user: BaseUser
    campaigns: Sequence[str]


def may_read(user: GetUserDep) -> Viewer:
    """The user who is logged in, with the campaigns that they may read.

    Raises:
        HTTPException: 401 without a login, 403 for who may read no campaign.
    """
    viewer = Viewer(user, readable(user, known_campaigns()))
    if not viewer.campaigns:
        raise HTTPException(403, "You may not read Winnow's DAGs and their runs in Airflow.")
    return viewer


def may_read_logs(user: BaseUser, names: Collection[str]) -> list[str]:
    """Those of the campaigns of which the errors in the logs of tasks may be shown."""
    return _allowed(user, names, (DagAccessEntity.TASK_LOGS,))


Reader = Annotated[Viewer, Depends(may_read)]


def readable(user: BaseUser, names: Collection[str]) -> list[str]:
    """Those of the campaigns all of whose stages' DAGs a user may read, with runs and tasks."""
    dags = {name: set(dag_ids(name).values()) for name in names}
    every = set().union(*dags.values())
    may = get_auth_manager().get_authorized_dag_ids(user=user)
    open_ones = may if every <= may or _has_teams() else may | (every - dags_known(every))
    return _allowed(user, [name for name in names if dags[name] <= open_ones], SHOWN)


def dags_known(dags: Collection[str]) -> set[str]:
    """Those of the DAGs that Airflow knows, also of those whose file is gone."""
    with create_session() as session:
        return set(session.scalars(select(DagModel.dag_id).where(DagModel.dag_id.in_(dags))))


def _has_teams() -> bool:
    """Whether Airflow's DAGs are of teams, bundle by bundle."""
    return bool(conf.getboolean("core", "multi_team"))


def _allowed(
    user: BaseUser, names: Collection[str], entities: Sequence[DagAccessEntity | None]
) -> list[str]:
    """Those of the campaigns of whose DAGs a user may read all of the entities."""
    every = [dag for name in names for dag in dag_ids(name).values()]
    teams = DagModel.get_dag_id_to_team_name_mapping(every) if _has_teams() else {}

    def may(some: Iterable[str]) -> bool:
        requests: list[IsAuthorizedDagRequest] = [
            {
                "method": "GET",
                "access_entity": entity,
                "details": DagDetails(id=dag, team_name=teams.get(dag)),
            }
            for name in some
            for dag in dag_ids(name).values()
            for entity in entities
        ]
        return bool(get_auth_manager().batch_is_authorized_dag(requests, user=user))

    # The answer is one for all that is asked. Mostly it is yes.
    return sorted(names) if may(names) else sorted(name for name in names if may([name]))
