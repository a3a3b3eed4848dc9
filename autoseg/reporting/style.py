"""The style sheet and the few lines of script of the report."""

from autoseg.reporting.viewer_script import VIEWER_SCRIPT, VIEWER_STYLE

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2129; --soft: #5d6675; --line: #d9dee6; --paper: #ffffff; --panel: #f5f7fa;
  --accent: #1f6fb2; --error: #b3261e; --warning: #8a5a00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --soft: #9aa4b2; --line: #333b47; --paper: #14181e; --panel: #1c222b; --accent: #6db3f2;
    --error: #ff8a80; --warning: #f2c063; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1.25rem 4rem; color: var(--ink); background: var(--paper);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { font-size: 1.9rem; margin: 0 0 .25rem; line-height: 1.2; }
h2 { font-size: 1.35rem; margin: 2.75rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
p { margin: .5rem 0; max-width: 46rem; }
a { color: var(--accent); }
.caution { color: var(--warning); font-weight: 600; }
.own { border-left: 3px solid var(--accent); padding-left: .75rem; white-space: pre-line; }
.soft, figcaption, summary { color: var(--soft); }
.error { color: var(--error); } .warning { color: var(--warning); }
nav { position: sticky; top: 0; z-index: 1; background: var(--paper); border-bottom: 1px solid var(--line);
  padding: .5rem 0; margin-top: 1rem; display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; }
nav a { text-decoration: none; } nav a:hover { text-decoration: underline; }
section { scroll-margin-top: 3rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem; margin: 1.25rem 0; }
.tiles div { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem 1rem; }
.tiles strong { display: block; font-size: 1.55rem; font-variant-numeric: tabular-nums; line-height: 1.25; }
.tiles span { color: var(--soft); font-size: .9rem; }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td.prose { min-width: 13rem; }
td.number { text-align: right; white-space: nowrap; }
.long { max-height: 34rem; overflow-y: auto; }
.long th { position: sticky; top: 0; background: var(--paper); }
th.number { text-align: right; }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid var(--accent); }
th button::after { content: " \\2195"; color: var(--line); }
th[aria-sort=ascending] button::after { content: " \\2191"; color: var(--accent); }
th[aria-sort=descending] button::after { content: " \\2193"; color: var(--accent); }
figure { margin: 1rem 0; }
figure svg, figure img { display: block; max-width: 100%; height: auto; }
figure img { border-radius: .5rem; }
figcaption { font-size: .9rem; margin-top: .35rem; max-width: 46rem; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: .75rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: 1rem; }
.pictures figure { margin: 0; } .pictures img { width: 100%; image-rendering: pixelated; }
.pictures figcaption { overflow-wrap: anywhere; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; font-size: .92rem; max-width: none; }
.legend i { display: inline-block; width: .8em; height: .8em; border-radius: .2em; margin-right: .35em; }
@media (max-width: 40rem) { figure { overflow-x: auto; }
  figure svg:not(.small), section > figure > img { min-width: 34rem; }
  .tiles { grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); } }
details { margin: .75rem 0; } summary { cursor: pointer; }
code { font-family: ui-monospace, "Cascadia Code", Menlo, monospace; font-size: .88em; overflow-wrap: anywhere; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); color: var(--soft); }
@media print {
  :root { color-scheme: light; --ink: #000; --soft: #444; --line: #bbb; --paper: #fff; --panel: #fff; }
  body { max-width: none; padding: 0; font-size: 11pt; } nav { display: none; }
  figure, tr { break-inside: avoid; } h2, h3 { break-after: avoid; }
  .wide, .long { overflow: visible; max-height: none; }
}
"""

_SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.firstElementChild.addEventListener("click", () => {
    const rising = heading.getAttribute("aria-sort") !== "ascending";
    headings.forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows];
    const key = (row) => row.cells[column].textContent;
    rows.sort((a, b) => {
      const x = parseFloat(key(a)), y = parseFloat(key(b));
      const undefinedLast = Number.isNaN(x) - Number.isNaN(y);
      const numeric = a.cells[column].className === "number" || b.cells[column].className === "number";
      if (numeric && undefinedLast) return undefinedLast;
      const order = numeric ? x - y || 0 : key(a).localeCompare(key(b), undefined, {numeric: true});
      return rising ? order : -order;
    });
    table.tBodies[0].append(...rows);
  }));
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
"""

STYLE = _STYLE + VIEWER_STYLE
SCRIPT = _SCRIPT + VIEWER_SCRIPT
