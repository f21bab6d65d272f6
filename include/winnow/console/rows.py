"""How a batch, a stage, a run and a trouble look, wherever they are shown."""

from __future__ import annotations

from html import escape
from urllib.parse import quote

from winnow.console.parts import Kind, age, chip, command, link, notice
from winnow.console.shell import Site, to
from winnow.console.state import WORDS, Cell, State
from winnow.console.trouble import Trouble
from winnow.operate.standing import Run
from winnow.pages.pieces import said
from winnow.text import plain_text

_MARKS: dict[State, str] = {
    "done": "✓",
    "running": "▸",
    "waiting": "◷",
    "blocked": "✕",
    "idle": "·",
    "ended": "·",
    "damaged": "✕",
    "dropped": "·",
}
_KINDS: dict[State, Kind] = {
    "done": "good",
    "running": "soft",
    "waiting": "warn",
    "blocked": "bad",
    "idle": "soft",
    "ended": "soft",
    "damaged": "bad",
    "dropped": "soft",
}


def batch_link(key: str) -> str:
    """A link to a batch's page."""
    return f'<a href="{escape(to("batch", key=key))}">{said(key)}</a>'


def state_chip(state: State) -> str:
    """A state in a lozenge."""
    return chip(WORDS[state], _KINDS[state])


def stage_cell(cell: Cell, site: Site) -> str:
    """A stage in a row of a table: a mark and its state for who hears it, words, age, run."""
    mark = (
        f'<span class="mark {cell.state}" aria-hidden="true">{_MARKS[cell.state]}</span> '
        f'<span class="{"hidden" if cell.told else "soft"}">{WORDS[cell.state]}</span> '
    )
    below = []
    if cell.since is not None:
        at = escape(cell.since.isoformat())
        full = cell.since.strftime("%Y-%m-%d %H:%M UTC")
        below.append(f'<time datetime="{at}" title="{full}">{age(cell.since, site.now)} ago</time>')
    if cell.run is not None and site.ui is not None:
        below.append(run_link(cell.run, site, len(cell.runs)))
    kept = f"<small>{cell.quarantined:,} in quarantine</small>" if cell.quarantined else ""
    small = f"<small>{' · '.join(below)}</small>" if below else ""
    return f"{mark}{escape(cell.told)}{kept}{small}"


def run_address(run: Run, site: Site) -> str | None:
    """The address of a run in Airflow's pages, where there are any."""
    if site.ui is None:
        return None
    return f"{site.ui}dags/{quote(run.dag, safe='')}/runs/{quote(run.run_id, safe='')}"


def run_link(run: Run, site: Site, n: int = 1) -> str:
    """A link to a stage's newest run; how many there are if more than one."""
    address = run_address(run, site)
    if address is None:
        return ""
    told = "run" if n <= 1 else f"newest of {n} runs"
    label = f"{told} of {run.dag}, {run.state}: {run.run_id}"
    return link(told, address, label=label, airflow=True)


def trouble_notice(trouble: Trouble, site: Site) -> str:
    """A trouble in a box: what and of which batch, why, what mends it."""
    why = "".join(f"<li><bdi>{escape(plain_text(each))}</bdi></li>" for each in trouble.why)
    mend = f"<p>{escape(trouble.mend)}</p>" if trouble.mend else ""
    typed = command(trouble.command) if trouble.command else ""
    stage = f", {escape(trouble.stage)}" if trouble.stage else ""
    return notice(
        f"<h3>{batch_link(trouble.key)}{stage}: {escape(trouble.what)}</h3>"
        f"<ul>{why}</ul>{mend}{typed}{_where(trouble, site)}",
        trouble.kind,
    )


def _where(trouble: Trouble, site: Site) -> str:
    links = []
    if trouble.quarantine:
        links.append(link("Reasons and examples", f"{to('batch', key=trouble.key)}#quarantine"))
    if site.ui is not None and trouble.answers:
        links.append(link("Required Actions", f"{site.ui}required_actions", airflow=True))
    if trouble.run is not None and (address := run_address(trouble.run, site)):
        links.append(link(f"The run of {trouble.run.dag}", address, airflow=True))
    return f"<p>{' · '.join(links)}</p>" if links else ""
