"""How the report of an evaluation looks and moves: its style sheet and the few lines of script."""

from seg2vid.evaluation.report.charts import CHART_STYLE

STYLE = (
    """
:root { color-scheme: light dark; --line: #8885; --soft: #8881; --warn: #b45309; }
@media (prefers-color-scheme: dark) { :root { --warn: #f0b35a; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 78rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; margin-bottom: .3rem; } h2 { margin: 2.6rem 0 .4rem; padding-top: .6rem;
border-top: 2px solid var(--line); } h3 { margin: 1.6rem 0 .3rem; }
nav { display: flex; flex-wrap: wrap; gap: .1rem 1rem; }
code, pre { font: 13px/1.5 ui-monospace, monospace; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: .7rem; background: var(--soft); }
aside { border: 2px solid var(--warn); border-left-width: .6rem; padding: .5rem 1rem;
margin: 1rem 0; } aside strong { color: var(--warn); font-size: 1.1em; }
small { display: block; font-weight: normal; font-size: .8rem; opacity: .75; line-height: 1.35; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; padding: .4rem 0; }
caption .about { left: 0; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem;
border-bottom: 1px solid var(--line); } thead th { vertical-align: bottom; line-height: 1.3; }
tbody th[scope=row] { position: sticky; left: 0; background: Canvas; min-width: 7rem; }
.even { table-layout: fixed; } .even thead th:first-child { width: 8rem; }
.even .count { width: 3rem; } .even .share { width: 5.5rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number small { white-space: nowrap; } .value { position: relative; white-space: nowrap; }
.value sup { position: absolute; left: 100%; font-size: .65rem; line-height: 1; }
td.best .value b { background: color-mix(in srgb, var(--hue2) 22%, transparent);
padding: .1rem .3rem; margin-right: -.3rem; border-radius: .2rem; }
tr.oracle th, tr.ceiling th { font-weight: normal; } tr.oracle, tr.ceiling { font-style: italic; }
tr.apart th, tr.metric th { padding-top: 1.1rem; } tr.apart th { font-weight: normal; }
.about { position: sticky; left: .6rem; display: inline-block; max-width: min(60rem, 84vw); }
.direction { font-weight: normal; opacity: .75; margin-left: .5rem; }
.role { font: normal .72rem/1.4 system-ui, sans-serif; border: 1px solid var(--line);
border-radius: 1rem; padding: 0 .5rem; white-space: nowrap; }
.role.model, .role.other { border-color: var(--hue0); color: var(--hue0); }
.notes { font-size: .85rem; margin-top: -.5rem; }
.legend { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr));
gap: 1.2rem 2rem; } .panels figure { max-width: 38rem; } figure { margin: 0; }
figcaption { font-size: .88rem; } figcaption b { font-size: 1rem; }
.clips { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(32rem, 100%), 1fr));
gap: 1.2rem; margin: .8rem 0; } .clips figure { max-width: 48rem; }
video, .clips img, details img { width: 100%; height: auto; display: block; background: #161616; }
details { margin: .5rem 0; } summary { cursor: pointer; } details figure { margin: .8rem 0; }
button { font: inherit; padding: .3rem .8rem; margin-right: .5rem; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .15rem 1.2rem; }
dt { opacity: .75; } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { dl { display: block; } dd { margin: 0 0 .5rem; } }
"""
    + CHART_STYLE
)

SCRIPT = """
const videos = [...document.querySelectorAll('video')], bar = document.getElementById('play');
let wanted = !matchMedia('(prefers-reduced-motion: reduce)').matches;
const seen = new Set(), update = v => wanted && seen.has(v) ? v.play() : v.pause();
const watch = new IntersectionObserver(entries => entries.forEach(e => {
  e.isIntersecting ? seen.add(e.target) : seen.delete(e.target); update(e.target); }),
  { threshold: 0.4 });
videos.forEach(v => {
  watch.observe(v); v.controls = false; v.tabIndex = 0;
  const turn = () => v.paused ? v.play() : v.pause();
  v.addEventListener('click', turn);
  v.addEventListener('keydown', e => { if (e.key === ' ') { e.preventDefault(); turn(); } });
});
bar.hidden = false;
bar.addEventListener('click', e => {
  if (e.target.value === 'play') {
    wanted = !wanted; videos.forEach(v => { v.currentTime = 0; update(v); }); }
  if (e.target.value === 'slow') videos.forEach(v => {
    v.playbackRate = v.playbackRate === 1 ? 0.34 : 1; });
});
"""
"""Videos play while they are in view, all together stop or start again, at full or a third speed.

The controls of a browser would lie over the lower pictures: a click or the space bar stands in.
"""
