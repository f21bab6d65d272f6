"""The frame of the bench's pages: one HTML file, its style inside, no script, nothing loaded.

Light and dark follow the reader's system. Colours are Okabe and Ito's, which colour-blind readers
tell apart; the yellow is darkened on white, and the blues are lightened on black. Each strategy
keeps its colour and its mark on every picture.

Always holds: equal input gives equal bytes; the title is escaped, and `body` is ready markup.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_SLOTS = (
    "hybrid",
    "decision_gain",
    "info_gain",
    "dts",
    "diversity",
    "delta",
    "uncertainty",
    "random",
    "traditional",
)
_LIGHT = "d55e00 0072b2 4aa3dc 009e73 cc79a7 d18f00 8f8500 7a7f87 1b1d21 7b3f9d 8c564b 3b6e6e"
_DARK = "ff8b42 4da6e0 a8dbf9 2fc79c e59fc7 f0b429 f0e442 9aa0a8 f2f2f0 c79be0 c49c94 8fc7c7"
N_COLOURS = len(_LIGHT.split())

_STYLE = """
:root{color-scheme:light dark;--paper:#fdfcfa;--ink:#1b1d21;--soft:#5c626b;--rule:#dedad2;
--wash:#f4f1eb;--up:#00694d;--down:#a84300}
@media(prefers-color-scheme:dark){:root{--paper:#14161a;--ink:#e9e7e2;--soft:#a0a5ad;
--rule:#33373e;--wash:#1c1f24;--up:#4fd3ab;--down:#ff9a5c}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif;
-webkit-text-size-adjust:100%}
main{max-width:76rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}
h1,h2,h3,.lead{font-family:Charter,"Iowan Old Style","Source Serif 4",Georgia,serif;
font-weight:600;line-height:1.2;text-wrap:balance}
h1{font-size:clamp(1.7rem,4vw,2.5rem);margin:0 0 .5rem}
h2{font-size:1.5rem;margin:3rem 0 .5rem;padding-top:1rem;border-top:1px solid var(--rule)}
h3{font-size:1.1rem;margin:1.75rem 0 .4rem}
p,li,dd{max-width:46rem;text-wrap:pretty} p{margin:.4rem 0 .8rem}
.lead{font-size:1.2rem;font-weight:500;line-height:1.4}
.soft,figcaption small,small,caption{color:var(--soft)}
a{color:inherit;text-underline-offset:.2em;text-decoration-color:var(--soft)}
:focus-visible{outline:2px solid #4aa3dc;outline-offset:2px}
.cards{display:grid;gap:1.25rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));
margin:1.5rem 0}
.card{background:var(--wash);border-radius:.5rem;padding:1rem 1.25rem}
.card h3{margin-top:0;font-size:1rem;font-family:inherit;color:var(--soft)}
.card ul{margin:.6rem 0 0;padding-left:1.1rem} .card li{margin:.35rem 0}
.plots{display:grid;gap:1.25rem 1.75rem;margin:1rem 0;
grid-template-columns:repeat(auto-fill,minmax(min(100%,22rem),1fr))}
.plots.wide{grid-template-columns:repeat(auto-fill,minmax(min(100%,30rem),1fr))}
figure{margin:0;min-width:0} figcaption{font-size:.9rem;line-height:1.35;margin-bottom:.3rem}
figcaption small{display:block}
svg{display:block;width:100%;height:auto;max-width:28rem;font:11.5px system-ui,sans-serif;
font-variant-numeric:tabular-nums}
svg text{fill:var(--ink);text-anchor:middle} svg .start{text-anchor:start} svg .end{text-anchor:end}
svg .tick,svg .value{fill:var(--soft)}
svg .halo{paint-order:stroke;stroke:var(--paper);stroke-width:4px}
svg .grid{stroke:var(--rule)} svg .zero{stroke:var(--soft)}
svg .level{stroke:var(--soft);stroke-dasharray:1 4;stroke-linecap:round}
svg polyline{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}
svg g[class] line{stroke:var(--c);stroke-width:2}
svg .dot{fill:var(--c);stroke:var(--paper);stroke-width:1}
svg .undecided .dot{fill:var(--paper);stroke:var(--c);stroke-width:1.6}
svg .band{fill:var(--c);opacity:.1;stroke:none}
.k7 polyline{stroke-dasharray:6 4} .k8 polyline{stroke-dasharray:2 3}
.legend{border:0;margin:0;padding:.5rem 0;display:flex;flex-wrap:wrap;gap:.2rem 1rem;
font-size:.85rem}
.legend legend{padding:0;color:var(--soft);float:left;margin-right:.4rem}
.legend label{display:inline-flex;align-items:center;gap:.35rem;cursor:pointer}
.legend svg,td svg,th svg{width:14px;height:14px;flex:none;display:inline-block;
vertical-align:-2px}
.legend input{accent-color:var(--c);margin:0}
@media(min-width:60rem){.legend{position:sticky;top:0;background:var(--paper);z-index:3;
border-bottom:1px solid var(--rule)}}
.scroll{overflow-x:auto;margin:1rem 0;border-radius:.3rem}
table{border-collapse:collapse;font-size:.8rem;font-variant-numeric:tabular-nums;line-height:1.35}
caption{text-align:left;padding:.3rem 0 .6rem;max-width:46rem}
th,td{padding:.3rem .4rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--rule)}
thead th{vertical-align:bottom;white-space:normal;font-weight:600;min-width:4.6rem}
th:first-child{text-align:left;position:sticky;left:0;background:var(--paper);min-width:8.5rem;
z-index:1;font-weight:400}
thead th:first-child{font-weight:600}
.card table{width:100%;margin:.8rem 0} .card th:first-child{background:none}
.card td,.card th{text-align:left;min-width:0;padding-left:0;white-space:normal}
td:first-child{text-align:left}
tbody th[colspan]{font-weight:600;padding-top:1.1rem}
td small{font-size:.72rem} td.up{color:var(--up)} td.down{color:var(--down)}
.up::before,.down::before{font-size:.65em;margin-right:.3em;vertical-align:.15em}
.up::before{content:"▲"/"better than random: "} .down::before{content:"▼"/"worse than random: "}
.meter{display:inline-block;width:7rem;height:.6rem;background:var(--wash);border-radius:2px;
margin-left:.5rem;vertical-align:0}
.meter i{display:block;height:100%;background:var(--c);border-radius:2px}
dl{display:grid;grid-template-columns:minmax(7rem,12rem) 1fr;gap:.35rem 1.25rem;font-size:.92rem}
dt{font-weight:600} dd{margin:0;overflow-wrap:anywhere}
details{margin:1rem 0} summary{cursor:pointer;font-size:.95rem}
pre{background:var(--wash);padding:.8rem 1rem;border-radius:.4rem;overflow-x:auto;font-size:.88rem}
@media(max-width:36rem){dl{grid-template-columns:1fr;gap:.1rem}dd{margin-bottom:.6rem}
main{padding-top:1.5rem}}
@media print{.legend input{display:none}details{display:block}}
"""


def slots(strategies: Iterable[str]) -> dict[str, str]:
    """The colour class of each strategy; the known ones have the same on every page."""
    others = sorted(set(strategies) - set(_SLOTS))
    return {
        name: f"k{i if i < N_COLOURS else len(_SLOTS) + i % (N_COLOURS - len(_SLOTS))}"
        for i, name in enumerate([*_SLOTS, *others])
    }


def document(title: str, body: str) -> str:
    """A whole page."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}{_colours()}</style></head>\n"
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>\n"
    )


def _colours() -> str:
    def rules(colours: str) -> str:
        return "".join(f".k{i}{{--c:#{colour}}}" for i, colour in enumerate(colours.split()))

    toggles = "".join(
        f":root:has(#show-k{i}:not(:checked)) .curves .k{i}{{display:none}}"
        for i in range(N_COLOURS)
    )
    return f"{rules(_LIGHT)}@media(prefers-color-scheme:dark){{{rules(_DARK)}}}\n{toggles}"
