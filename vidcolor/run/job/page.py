"""The report of a run as one page to read: no scripts, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from string import Template
from typing import Any

from ...system.disk import as_size
from ...system.text import printable

MARK = "<!doctype html><!-- report of vidcolor -->"
# In the order of the page: what needs a look comes first.
_ORDER = ("failed", "incomplete", "renamed", "unfinished", "done", "skipped")
_EVENTS = {
    "done": "finished",
    "interrupted": "interrupted with Ctrl-C",
    "terminated": "terminated",
    "stopped": "stopped by an error",
}

# What all pages share; both color schemes have a contrast of at least 4.5 to 1.
STYLE = """:root { --ink: #1c2024; --soft: #5b6570; --line: #d9dee3; --page: #fff; --panel: #f4f6f8;
  --bad: #b3261e; --badbg: #fbe9e7; --warn: #8a5a00; --warnbg: #fdf3d8; --good: #1b6e3c;
  --goodbg: #e5f4ea; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --soft: #9aa5b0; --line: #353c43;
  --page: #15181b; --panel: #1e2226; --bad: #ff9c92; --badbg: #43201d; --warn: #f0c566;
  --warnbg: #3a2f14; --good: #86d6a2; --goodbg: #17331f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 84rem; color: var(--ink);
  background: var(--page); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.05rem; margin: 2rem 0 .6rem; }
.when { color: var(--soft); margin: .2rem 0 1.4rem; }
.totals { display: flex; flex-wrap: wrap; gap: .6rem; padding: 0; margin: 0; list-style: none; }
.totals li { background: var(--panel); border-radius: .5rem; padding: .55rem .9rem;
  min-width: 6.5rem; }
.totals b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.totals span { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; color: var(--soft); font-weight: 500; }
th, td { padding: .45rem .8rem .45rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th.n, td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.name { overflow-wrap: anywhere; min-width: 16rem; }
.out, .note, .none { color: var(--soft); }
.out { font-size: .87em; }
.why { color: var(--bad); margin-top: .2rem; }
.note { color: var(--warn); margin-top: .2rem; }
.tag { border-radius: 1rem; padding: .1rem .6rem; white-space: nowrap; background: var(--panel); }
.failed, .incomplete, .renamed { color: var(--bad); }
.unfinished, .warnings { color: var(--warn); }
.done { color: var(--good); }
.tag.failed, .tag.incomplete, .tag.renamed { background: var(--badbg); }
.tag.unfinished { background: var(--warnbg); }
.tag.done { background: var(--goodbg); }
td details { font-size: .87em; color: var(--soft); }
.about { margin-top: 1.4rem; }
.about h2 { margin: 1rem 0 .3rem; }
summary { cursor: pointer; }
code { font: .92em ui-monospace, monospace; overflow-wrap: anywhere; }
dl { columns: 19rem; column-gap: 2.5rem; margin: 0; }
dl div { display: grid; grid-template-columns: 9rem 1fr; padding: .1rem 0; break-inside: avoid; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr));
  gap: 0 2.5rem; }
.facts section:last-child { grid-column: 1 / -1; }
"""

_PAGE = Template(
    MARK
    + """
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<h1>$title</h1>
<p class="when">$when</p>
<ul class="totals">$totals</ul>
<details class="about"><summary>Model, machine and settings</summary>
<div class="facts">$facts</div></details>
<h2>Inputs</h2>
<div class="scroll"><table>
<thead><tr><th>status</th><th>input and output</th><th class="n">frames</th>
<th class="n">seconds</th><th class="n">fps</th></tr></thead>
<tbody>
$rows
</tbody>
</table></div>
</body>
</html>
"""
)


def page_text(value: object) -> str:
    """Text for the page: names must not become markup or control anything."""
    return escape(printable(str(value)))


def make_page(values: Mapping[str, Any]) -> str:
    """The page of a report.

    Args:
        values: see `JobReport`; of them all is shown, inputs that are not as wanted first.
    """
    totals, inputs = values["totals"], values["inputs"]
    machine = {**values["machine"], "memory": as_size(values["machine"]["memory"])}
    ordered = sorted(inputs, key=lambda row: _ORDER.index(row["status"]))
    bad = sum(totals.get(status, 0) for status in _ORDER[:3])
    what = f"{bad} of {totals['inputs']} not as wanted" if bad else f"{totals['inputs']} inputs"
    return _PAGE.substitute(
        style=STYLE,
        title=page_text(f"vidcolor: {what}"),
        when=page_text(
            f"{_moment(values['began'])} to {_moment(values['ended'])}, "
            f"{_EVENTS[values['event']]}, on {values['machine']['name']}"
        ),
        totals="".join(_totals(totals)),
        rows="\n".join(map(_row, ordered)),
        facts="".join(
            facts_section(name, machine if name == "machine" else values[name])
            for name in ("model", "machine", "versions", "settings")
        ),
    )


def _moment(text: str) -> str:
    """A time of ISO 8601 without its zone."""
    return text[:19].replace("T", " ")


def _totals(totals: Mapping[str, Any]) -> Iterable[str]:
    shown = [(name, totals[name]) for name in _ORDER if totals.get(name)]
    shown += [(name, totals[name]) for name in ("frames", "warnings") if totals[name]]
    for name, count in shown:
        yield f'<li><b class="{name}">{count:,}</b><span>{name}</span></li>'
    yield f"<li><b>{_duration(totals['seconds'])}</b><span>time</span></li>"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _row(row: Mapping[str, Any]) -> str:
    parts = [f"<div>{page_text(row['input'])}</div>"]
    if row["status"] != "failed":
        parts.append(f'<div class="out">{page_text(row["output"])}</div>')
    if row["error"]:
        parts.append(f'<div class="why">{_line(row["error"], row)}</div>')
    parts += [f'<div class="note">{_line(line, row)}</div>' for line in row["warnings"]]
    hashes = [(name, row[f"{name}_sha256"]) for name in ("input", "output")]
    known = [f"{name} <code>{page_text(value)}</code>" for name, value in hashes if value]
    if known:
        parts.append(f"<details><summary>SHA-256</summary>{'<br>'.join(known)}</details>")
    status = row["status"]
    return (
        f'<tr><td><span class="tag {status}">{status}</span></td><td class="name">{"".join(parts)}'
        f'</td><td class="n">{_number(row["frames"], ",")}</td>'
        f'<td class="n">{_number(row["seconds"], ",.1f")}</td>'
        f'<td class="n">{_number(row["fps"] if row["frames"] > 1 else None, ",.1f")}</td></tr>'
    )


def _line(text: str, row: Mapping[str, Any]) -> str:
    """A line of a row, without the input's name, which stands above it."""
    return page_text(text.removeprefix(f"{row['input']}: "))


def _number(value: float | None, form: str) -> str:
    return format(value, form) if value else ""


def facts_section(title: str, values: Mapping[str, Any]) -> str:
    """A section with a list of names and values; empty for none."""
    lines = "".join(
        f"<div><dt>{page_text(name.replace('_', ' '))}</dt><dd>{_fact(value)}</dd></div>"
        for name, value in values.items()
    )
    if not lines:
        return ""
    return f"<section><h2>{title.capitalize()}</h2><dl>{lines}</dl></section>"


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        value = [f"{key} {part}" for key, part in value.items() if part]
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = ", ".join(map(str, value))
    if value in (None, ""):
        return '<span class="none">default</span>'
    return page_text(
        {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
    )
