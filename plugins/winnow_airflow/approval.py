"""A person's yes before a dear purchase, in Airflow's Required Actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator

from winnow.errors import Blocked
from winnow_airflow.context import batch_of

if TYPE_CHECKING:
    from winnow.batch import Batch


class ApprovePurchase(ApprovalOperator):
    """Asks before a batch's labels are bought, where they may cost more than the campaign allows.

    `plan` is what `winnow.stages.label.plan` returned. The question is asked when the tasks and the
    most that their follow-ups may cost exceed `label.approve_above_usd`, and the answer covers both
    rounds: a follow-up does not ask again, and the budget bounds the two together. A batch that the
    vendor has already is not asked about again, since nothing is left to decide. Approve is noted
    in the lake, where `submit_tasks` looks for it; Reject fails the run, and nothing is bought.
    """

    template_fields = (*ApprovalOperator.template_fields, "plan")

    def __init__(self, *, plan: Any, **kwargs: Any) -> None:
        super().__init__(
            subject="Buy the labels of batch {{ dag_run.partition_key }}?",
            fail_on_reject=True,
            # Airflow would take a time limit for the time that the person has to answer.
            execution_timeout=None,
            **kwargs,
        )
        self.plan = plan

    def execute(self, context: Any) -> Any:
        from winnow.stages import label

        batch, most = batch_of(context["dag_run"]), self.plan["most_usd"]
        if not label.is_dear(self.plan, batch.campaign.label):
            self.log.info("At most $%.2f, or bought already: the campaign asks nobody.", most)
            return None
        self.subject = f"Buy the labels of batch {batch.key} for up to ${most:,.2f}?"
        self.body = describe(self.plan, batch)
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        from winnow.stages import label

        who = (event.get("responded_by_user") or {}).get("name") or "somebody"
        if self.REJECT in event.get("chosen_options", ()):
            raise Blocked(
                f"Rejected by {who}: the purchase of {self.plan['tasks']} labelling tasks (up to "
                f"${self.plan['most_usd']:,.2f}). Nothing was bought. Clear approve_purchase to be "
                "asked again, or take the batch out of the campaign."
            )
        answer = super().execute_complete(context, event)
        label.approve(batch_of(context["dag_run"]), who, self.plan["most_usd"])
        return answer


def _each(plan: dict[str, Any]) -> str:
    """What a task costs on average: a judge's have prices of their own, far below a cent."""
    usd = plan["estimate_usd"] / max(1, plan["tasks"])
    return f"${usd:.3f}" if usd >= 0.01 or not usd else f"${usd:.2g}"


def describe(plan: dict[str, Any], batch: Batch) -> str:
    """What would be bought, in Markdown: numbers and the campaign's own words, no model's text."""
    label = batch.campaign.label
    personal = ", ".join(f"{count} {kind}" for kind, count in sorted(plan["pii"].items()) if count)
    sources = plan.get("sources", {})
    n_people = plan["tasks"] - sum(each["tasks"] for each in sources.values())
    rows = {
        "Campaign": f"{batch.campaign.name}, batch {batch.key}",
        "Vendor": f"{plan['vendor']} (connection {label.connection})",
        "Tasks now": f"{n_people:,} over {plan['pairs']:,} pairs",
        **{
            f"Beside them {name}": f"{each['tasks']:,} tasks, ${each['usd']:,.2f}"
            for name, each in sources.items()
        },
        "Votes taken over": f"{plan.get('taken_over', 0):,}, which cost nothing here",
        "Cost now": f"${plan['estimate_usd']:,.2f}, at {_each(plan)} each",
        "At most, with follow-ups": f"${plan['most_usd']:,.2f}",
        "Budget": f"${plan['budget_usd']:,.2f}",
        "Asked above": f"${label.approve_above_usd or 0.0:,.2f}",
        "Personal data found": f"{personal or 'none'} (label.pii: {label.pii})",
    }
    lines = ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows.items())]
    covers = "An approval covers these tasks and their follow-ups, never more than the budget."
    return "\n".join([*lines, "", covers])
