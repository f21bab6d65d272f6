"""The frame of the quality report: one HTML file, its style inside, no script, nothing loaded.

The page's own policy forbids scripts, frames, forms and every address, and allows one style: the
one whose digest it names. Text that slipped through escaping could still do nothing. Colours are
Okabe and Ito's, which colour-blind readers tell apart; light and dark follow the reader's system.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape

STYLE = """
:root{color-scheme:light dark;--paper:#fdfcfa;--ink:#1b1d21;--soft:#5c626b;--rule:#dedad2;
--wash:#f4f1eb;--good:#00694d;--warn:#a84300;--bad:#b3261e;--k0:#0072b2;--k1:#d55e00;--k2:#7a7f87;
--step:.28}
@media(prefers-color-scheme:dark){:root{--paper:#14161a;--ink:#e9e7e2;--soft:#a0a5ad;
--rule:#33373e;--wash:#1c1f24;--good:#4fd3ab;--warn:#ff9a5c;--bad:#ff8a80;--k0:#4da6e0;
--k1:#ff8b42;--k2:#9aa0a8;--step:.5}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif;
-webkit-text-size-adjust:100%}
main{max-width:64rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}
h1,h2,h3,.lead,.tiles b{font-family:Charter,"Iowan Old Style","Source Serif 4",Georgia,serif;
font-weight:600;line-height:1.2;text-wrap:balance}
h1{font-size:clamp(1.8rem,5vw,2.6rem);margin:.2rem 0 .6rem}
h2{font-size:1.5rem;margin:3rem 0 .5rem;padding-top:1rem;border-top:1px solid var(--rule)}
h3{font-size:1.08rem;margin:1.9rem 0 .4rem}
p,li,dd{max-width:46rem;text-wrap:pretty} p{margin:.4rem 0 .8rem}
.lead{font-size:1.2rem;font-weight:500;line-height:1.45}
.soft,small,.kicker{color:var(--soft)}
.kicker{margin:0;font-size:.85rem;letter-spacing:.04em}
a{color:inherit;text-underline-offset:.2em;text-decoration-color:var(--soft)}
:focus-visible{outline:2px solid #4aa3dc;outline-offset:2px}
bdi{overflow-wrap:anywhere} td bdi,th bdi{overflow-wrap:break-word}
.chip{display:inline-block;padding:.05rem .55rem;border-radius:1rem;border:1px solid;
font-size:.8rem;font-weight:600;white-space:nowrap}
.pass{color:var(--good)} .warn,.fail{color:var(--warn)} .block,.error{color:var(--bad)}
.none{color:var(--soft);font-weight:400}
.notice{border-left:4px solid var(--warn);background:var(--wash);padding:.7rem 1rem;
border-radius:0 .4rem .4rem 0;margin:1rem 0}
.notice p{margin:0} .notice ul{margin:.3rem 0 0;padding-left:1.1rem}
.tiles{display:grid;gap:.75rem;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));
margin:1.5rem 0 1rem;padding:0;list-style:none}
.tiles li{background:var(--wash);border-radius:.5rem;padding:.8rem 1rem}
.tiles b{display:block;font-size:1.6rem} .tiles span{display:block;font-size:.85rem}
.tiles small{display:block;font-size:.78rem;line-height:1.35;margin-top:.2rem}
.contents{display:flex;flex-wrap:wrap;gap:.15rem 1.1rem;padding:0;margin:1rem 0 0;list-style:none;
font-size:.9rem}
figure{margin:1rem 0;min-width:0} figcaption{font-size:.92rem;line-height:1.35;margin-bottom:.4rem}
figcaption small{display:block;max-width:46rem}
.plots{display:grid;gap:1.25rem 2.5rem;
grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr))}
.plots>*{margin-top:0} .plots svg{max-width:28rem} .narrow svg{max-width:20rem}
svg{display:block;width:100%;height:auto;max-width:44rem;font:11.5px system-ui,sans-serif;
font-variant-numeric:tabular-nums}
svg text{fill:var(--ink);text-anchor:middle} svg .start{text-anchor:start} svg .end{text-anchor:end}
svg .tick{fill:var(--soft)} svg .big{font-weight:600;font-size:13px}
svg .halo{paint-order:stroke;stroke:var(--paper);stroke-width:3px}
svg .grid{stroke:var(--rule)} svg .zero{stroke:var(--soft)}
svg .step{fill:var(--c);opacity:var(--step)}
svg polyline{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}
svg g[class] line{stroke:var(--c);stroke-width:2}
svg .dot{fill:var(--c);stroke:var(--paper);stroke-width:1}
.k0{--c:var(--k0)} .k1{--c:var(--k1)} .k2{--c:var(--k2)}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;list-style:none;margin:.2rem 0;padding:0;
font-size:.85rem}
.legend li{display:inline-flex;align-items:center;gap:.35rem} .legend svg{width:14px;height:14px}
.scroll{overflow-x:auto;margin:.8rem 0;max-width:100%}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums;line-height:1.4}
th,td{padding:.32rem .7rem .32rem 0;text-align:right;border-bottom:1px solid var(--rule);
vertical-align:top}
td{white-space:nowrap} .words{text-align:left} td.words{white-space:normal;min-width:5.5rem}
thead th{font-weight:600;vertical-align:bottom;max-width:9rem}
th:first-child{text-align:left} tbody th{font-weight:400;min-width:8rem}
tr>*+*{padding-left:.7rem}
td small{font-size:.78rem} td .up,td .down{font-weight:600;color:var(--warn)}
code{font-size:.92em;background:var(--wash);padding:.1em .3em;border-radius:.25em}
.pair{border:1px solid var(--rule);border-radius:.5rem;padding:1rem 1.1rem;margin:1rem 0}
.pair h3{margin:0 0 .5rem} .pair>p{margin:.6rem 0 0;font-size:.88rem}
.sides{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,17rem),1fr));
margin-top:.8rem}
.sides h4,.asked h4{font-size:.82rem;font-weight:600;margin:0 0 .3rem;color:var(--soft)}
.sides .chosen h4{color:var(--good)}
blockquote{margin:0;padding:.6rem .8rem;background:var(--wash);border-radius:.4rem;
white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate;font-size:.9rem;
border-inline-start:3px solid var(--rule)}
.chosen blockquote{border-inline-start-color:var(--good)}
dl{display:grid;gap:0 2.5rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));
font-size:.92rem;margin:.8rem 0}
dl div{display:flex;justify-content:space-between;gap:1rem;padding:.32rem 0;
border-bottom:1px solid var(--rule)}
dt{color:var(--soft)} dd{margin:0;text-align:right;overflow-wrap:anywhere;
font-variant-numeric:tabular-nums}
details{margin:.8rem 0} summary{cursor:pointer;font-size:.92rem}
footer{margin-top:3rem;border-top:1px solid var(--rule);padding-top:1rem;font-size:.85rem;
color:var(--soft);overflow-wrap:anywhere}
@media(max-width:36rem){main{padding-top:1.5rem}figure.wide{overflow-x:auto}
figure.wide svg{min-width:34rem}}
@media print{:root{color-scheme:light;--paper:#fff;--ink:#000;--soft:#444;--rule:#ccc;
--wash:#f3f3f3;--good:#00694d;--warn:#a84300;--bad:#b3261e;--k0:#0072b2;--k1:#d55e00;--k2:#7a7f87;
--step:.28}
body{font-size:10.5pt;-webkit-print-color-adjust:exact;print-color-adjust:exact}
main{max-width:none;padding:0}.contents{display:none}h2{margin-top:1.6rem}
h2,h3{break-after:avoid}figure,.pair,.tiles li,tr{break-inside:avoid}.scroll{overflow:visible}
details::details-content{content-visibility:visible;block-size:auto}}
"""


def document(title: str, body: str) -> str:
    """A whole page. `title` is text, `body` markup."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="referrer" content="no-referrer">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>{body}</main></body></html>\n"
    )
