"""The style, the script and the frame of a report's page."""

from __future__ import annotations

import base64
import hashlib
from string import Template

from ..run.job.page import MARK

# All sliders have the keys of their kind: arrows, Page Up and Down, Home and End.
SCRIPT = """
for (const pair of document.querySelectorAll(".pair")) {
  const frames = pair.querySelector(".frames"), range = pair.querySelector("input");
  const show = () => {
    frames.style.setProperty("--at", range.value + "%");
    range.setAttribute("aria-valuetext", range.value + " percent original");
  };
  const follow = (event) => {
    const box = frames.getBoundingClientRect();
    range.value = Math.round((event.clientX - box.left) / box.width * 100);
    show();
  };
  range.addEventListener("input", show);
  frames.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    frames.setPointerCapture(event.pointerId);
    follow(event);
  });
  frames.addEventListener("pointermove", (event) => {
    if (frames.hasPointerCapture(event.pointerId)) follow(event);
  });
  show();
}
for (const link of document.querySelectorAll("a[data-jump]"))
  link.addEventListener("click", () => {
    const there = document.getElementById(link.hash.slice(1));
    if (there) there.focus({ preventScroll: true });
  });
"""
_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()

STYLE = """
a { color: var(--link); }
:root { --link: #0b57a4; }
@media (prefers-color-scheme: dark) { :root { --link: #8fc3ff; } }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
h1, h3 { overflow-wrap: anywhere; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: .5rem; background: var(--page); padding: .4rem .8rem; }
.findings { padding-left: 0; list-style: none; margin: 0; }
.findings li { padding: .4rem 0; border-bottom: 1px solid var(--line); display: grid;
  grid-template-columns: 8.5rem 8rem 1fr; gap: .2rem 1rem; }
.findings .when { margin: 0; font-variant-numeric: tabular-nums; }
.findings a { display: inline-block; min-height: 24px; }
.good { color: var(--good); }
.curve { margin: 0 0 1.2rem; }
.curve figcaption { color: var(--soft); margin-bottom: .3rem; }
.curve svg { display: block; width: 100%; height: 7rem; background: var(--panel); }
.curve polyline { fill: none; stroke: var(--link); stroke-width: 2; }
.curve path { stroke: var(--line); stroke-width: 1; }
.curve .mark { stroke: var(--bad); stroke-width: 2; stroke-dasharray: 4 3; }
.curve :is(polyline, path) { vector-effect: non-scaling-stroke; }
.axis { display: flex; justify-content: space-between; gap: .5rem; color: var(--soft);
  font-size: .87em; margin: .2rem 0 0; font-variant-numeric: tabular-nums; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .8rem;
  padding: 0; margin: 0; list-style: none; }
.sheet a { display: block; text-decoration: none; font-size: .87em; overflow-wrap: anywhere; }
.sheet img { display: block; width: 100%; height: auto; border-radius: .3rem; }
.shots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr));
  gap: 1.4rem; }
article { background: var(--panel); border-radius: .5rem; padding: .9rem; min-width: 0;
  scroll-margin-top: 1rem; }
article:target { box-shadow: 0 0 0 3px var(--link); }
h3 { margin: 1rem 0 .3rem; font-size: 1rem; }
article h3 { margin: 0 0 .5rem; }
dl div { gap: .8rem; }
article p { margin: .4rem 0 0; }
.pair { margin: 0; }
.frames { position: relative; --at: 50%; cursor: ew-resize; touch-action: pan-y;
  user-select: none; overflow: hidden; border-radius: .3rem; }
.frames img { display: block; width: 100%; height: auto; pointer-events: none; }
.frames .before { position: absolute; inset: 0; height: 100%;
  clip-path: inset(0 calc(100% - var(--at)) 0 0); }
.frames::after { content: ""; position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px;
  margin-left: -1px; background: #fff; box-shadow: 0 0 0 1px #000; }
.pair input { width: 100%; margin: .3rem 0 0; height: 2rem; accent-color: var(--link); }
.ends { display: flex; justify-content: space-between; color: var(--soft); font-size: .87em; }
.stills { display: flex; flex-wrap: wrap; gap: .6rem; margin: .7rem 0 0; padding: 0;
  list-style: none; font-size: .87em; }
.stills img { display: block; max-width: 11rem; width: 100%; height: auto; border-radius: .3rem; }
@media (max-width: 40rem) {
  body { padding: 1.2rem .9rem 3rem; }
  .findings li { grid-template-columns: auto 1fr; }
  .findings li > :last-child { grid-column: 1 / -1; }
  .totals li { flex: 1 1 6rem; min-width: 0; }
  dl { columns: auto; }
  dl div { grid-template-columns: 7rem 1fr; }
  .sheet { grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); }
}
"""

PAGE = Template(
    MARK
    + f"""
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
 style-src 'unsafe-inline'; script-src 'sha256-{_HASH}'">
"""
    + """<title>$title</title>
<style>
$style
</style>
</head>
<body>
<a class="skip" href="#findings">Skip to the findings</a>
<header>
<h1>$title</h1>
<p class="when">$when</p>
<ul class="totals">$totals</ul>
</header>
<main>
<section aria-labelledby="findings"><h2 id="findings" tabindex="-1">Findings</h2>
$findings
$notes</section>
$curves
$sheet
$shots
<section aria-labelledby="origin"><h2 id="origin">Origin</h2>
$facts</section>
</main>
<script>$script</script>
</body>
</html>
"""
)
