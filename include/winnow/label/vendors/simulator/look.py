"""How the simulator's pages look: one frame, one style, every text escaped.

What always holds: a page loads nothing but itself. Its style and its one script are inline and
named by their hashes in the policy, so nothing that a prompt or a model wrote can run or be styled.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape

from winnow.records import MICROS

STYLE = """
:root { color-scheme: light dark; --edge: light-dark(#d8dbe0, #3a3f47);
  --page: light-dark(#f6f7f9, #15181c); --card: light-dark(#fff, #1d2127);
  --soft: light-dark(#5b6470, #9aa4b1); --mark: light-dark(#2456c8, #8db2ff);
  --note: light-dark(#fff4d6, #3a3116); --press: light-dark(#e9effc, #26324a) }
* { box-sizing: border-box }
body { font: 15px/1.55 system-ui, sans-serif; background: var(--page); max-width: 76rem;
  margin: 0 auto; padding: 1.5rem 1rem 3rem }
h1 { font-size: 1.35rem; margin: 0 0 .6rem } h2 { font-size: 1.1rem; overflow-wrap: anywhere }
h3 { margin: 0 0 .3rem; font-size: .85rem; color: var(--soft) }
a { color: var(--mark) }
table { border-collapse: collapse; width: 100%; background: var(--card) }
th, td { text-align: left; padding: .45rem .7rem; border-bottom: 1px solid var(--edge) }
th { font-size: .85rem; color: var(--soft) }
.n { text-align: right; font-variant-numeric: tabular-nums }
.scroll { overflow-x: auto }
.note { background: var(--note); padding: .6rem .8rem; border-radius: .5rem }
.soft { color: var(--soft) }
.card, details { background: var(--card); border: 1px solid var(--edge); border-radius: .6rem;
  padding: .8rem 1rem; margin: .7rem 0 }
summary { cursor: pointer; overflow-wrap: anywhere }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: inherit; margin: 0 0 .6rem }
.card > :first-child { margin-top: 0 } .card > :last-child { margin-bottom: 0 }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: .8rem }
.sides .card { margin: 0 }
@media (max-width: 45rem) { .sides { grid-template-columns: 1fr } }
button { font: inherit; padding: .5rem .9rem; border-radius: .5rem; border: 1px solid var(--edge);
  background: var(--card); color: inherit; cursor: pointer }
button:hover { background: var(--press); border-color: var(--mark) }
button:focus-visible, input:focus-visible, textarea:focus-visible, summary:focus-visible {
  outline: 2px solid var(--mark); outline-offset: 2px }
kbd { font: 600 .8em ui-monospace, monospace; border: 1px solid var(--edge); border-radius: .25rem;
  padding: 0 .35em; margin-right: .45em; color: var(--soft) }
.choices { position: sticky; bottom: 0; background: var(--page); padding: .8rem 0; display: flex;
  flex-wrap: wrap; gap: .5rem; border-top: 1px solid var(--edge) }
.choices button { flex: 1 1 8rem }
fieldset { border: 0; padding: 0; margin: .3rem 0 } legend { font-weight: 600; padding: 0 }
.stars { display: inline-flex; gap: .8rem; margin-right: 2rem }
label { white-space: nowrap }
textarea, input[type=text] { font: inherit; width: 100%; padding: .45rem .6rem; color: inherit;
  background: var(--card); border: 1px solid var(--edge); border-radius: .5rem }
.by { max-width: 18rem }
"""

KEYS = """
document.addEventListener("keydown", function (event) {
  var typing = event.target.closest("textarea, input[type=text]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  var button = document.querySelector('button[data-key="' + Number(event.key) + '"]');
  if (button) { event.preventDefault(); button.click(); }
});
"""


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {_hash(STYLE)}; script-src {_hash(KEYS)}; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def frame(body: str, n_by_hand: int, keys: bool = False) -> str:
    """A whole page around `body`, which is HTML; `keys` makes digits press buttons."""
    script = f"<script>{KEYS}</script>" if keys else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Labelling vendor simulator</title><style>{STYLE}</style></head><body>"
        f'<h1>Labelling vendor simulator</h1><p class="note">{_who_answers(n_by_hand)}</p>'
        f"{body}{script}</body></html>"
    )


def turns(messages: Iterable[Mapping[str, str]]) -> str:
    """A conversation as text."""
    return "".join(text(message["role"], message["content"]) for message in messages)


def text(heading: str, content: str) -> str:
    """A text under a heading, as text and nothing else."""
    return f'<h3>{escape(heading)}</h3><pre dir="auto">{escape(content)}</pre>'


def sides(request: Mapping[str, str]) -> str:
    """Both responses of a task, side by side."""
    cards = (text("Response A", request["response_a"]), text("Response B", request["response_b"]))
    return '<div class="sides">' + "".join(f'<div class="card">{c}</div>' for c in cards) + "</div>"


def times(count: int) -> str:
    """`count` in words: once, 2 times."""
    return "once" if count == 1 else f"{count} times"


def dollars(micros: int) -> str:
    """Micro-dollars as dollars and cents."""
    return f"${micros / MICROS:.2f}"


def _who_answers(n_by_hand: int) -> str:
    if not n_by_hand:
        return (
            "No human answered any of this: simulated annotators judge by a formula, and no money "
            "moves."
        )
    return (
        f"{n_by_hand} of these answers {'was' if n_by_hand == 1 else 'were'} given by hand on this "
        "page. All others are simulated: they come from a formula. No money moves."
    )
