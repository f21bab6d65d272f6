"""The pages' style: the quality report's, and what only the console has."""

from __future__ import annotations

from winnow.pages.render import style_of

_OWN = """
body{font-size:15px}
h1,h2,h3,.lead,.tiles b{font-family:system-ui,sans-serif}
h1{font-size:1.55rem;margin:.2rem 0 .8rem}
h2{font-size:1.15rem;margin:2rem 0 .5rem;padding-top:.9rem}
.lead{font-size:1.02rem;font-weight:400}
main{max-width:76rem;padding:1.2rem 1.25rem 2rem} main:focus{outline:none}
body>header{border-bottom:1px solid var(--rule);background:var(--wash)}
body>header nav,body>footer{max-width:76rem;margin:0 auto;padding:0 1.25rem}
body>header ul{display:flex;flex-wrap:wrap;gap:0 .35rem;list-style:none;margin:0 -.7rem;padding:0}
body>header a{display:block;padding:.7rem;text-decoration:none;border-bottom:3px solid transparent}
body>header a:hover{text-decoration:underline}
body>header a[aria-current]{font-weight:600;border-color:var(--k0)}
body>footer{margin-top:1rem;padding-bottom:1.5rem}
.skip{position:absolute;left:-99rem;padding:.6rem 1rem;background:var(--paper);z-index:1}
.skip:focus{left:.5rem;top:.5rem}
.chip.good{color:var(--good)} .chip.warn{color:var(--warn)} .chip.bad{color:var(--bad)}
.chip.soft{color:var(--soft);font-weight:400}
.notice.bad{border-color:var(--bad)} .notice.good{border-color:var(--good)}
.notice[class]{color:var(--ink)} .notice.soft{border-color:var(--soft)} .notice h3{margin:0 0 .3rem}
.notice p,.notice ul{margin:.4rem 0 0}
.command{margin:.5rem 0 0;padding:.5rem .7rem;background:var(--paper);border:1px solid var(--rule);
border-radius:.3rem;overflow-x:auto;font-size:.85rem} .command code{background:none;padding:0}
.filters{display:flex;flex-wrap:wrap;gap:.6rem 1rem;align-items:end;margin:1rem 0 .4rem}
.filters label{display:grid;gap:.15rem;font-size:.82rem;color:var(--soft)}
input,select,button{font:inherit;font-size:.92rem;color:var(--ink);background:var(--paper);
border:1px solid var(--soft);border-radius:.3rem;padding:.35rem .6rem;min-height:2.2rem;
max-width:100%}
button{font-weight:600;cursor:pointer;padding:.35rem 1rem}
.pages ul{display:flex;flex-wrap:wrap;gap:.2rem;list-style:none;padding:0;margin:1rem 0}
.pages a{display:block;min-width:2.2rem;padding:.35rem .5rem;text-align:center;border-radius:.3rem}
.pages a[aria-current]{background:var(--wash);font-weight:600;text-decoration:none}
.scroll{position:relative} .scroll table{min-width:100%}
td,th{overflow-wrap:normal} td small,th small{display:block;font-size:.8rem}
time{white-space:nowrap}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);
white-space:nowrap}
.mark{font-weight:700} .mark.done{color:var(--good)} .mark.waiting{color:var(--warn)}
.mark.blocked{color:var(--bad)} .mark.idle{color:var(--soft)} .mark.running{color:var(--k0)}
"""

STYLE = style_of() + _OWN
