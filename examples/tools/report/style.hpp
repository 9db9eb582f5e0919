// How a report looks: light or dark as its reader's system is, on a phone or a wide screen.
#pragma once

namespace report {

/// Colours, and what a chart is made of.
inline constexpr const char* kChartStyle = R"css(
:root { color-scheme: light dark; --page: #fff; --card: #f6f7f9; --text: #1d2025; --muted: #5b6270; --grid: #dde1e7;
  --c0: #0072b2; --c1: #c24a00; --c2: #00805e; --c3: #b0397f; --c4: #806600; --c5: #2a8fc7; --c6: #6a4c93; --c7: #555;
  --surprise: 214, 69, 27; }
@media (prefers-color-scheme: dark) {
  :root { --page: #15171b; --card: #1e2127; --text: #e6e8ec; --muted: #a0a7b4; --grid: #343943;
    --c0: #5ab4f0; --c1: #ff9a52; --c2: #3ecfa0; --c3: #f08cc3; --c4: #e0c04d; --c5: #8fd3ff; --c6: #c3a6f0; --c7: #bbb;
    --surprise: 240, 100, 50; }
}
svg text { fill: var(--muted); font-size: 13px; }
svg .x { text-anchor: middle; } svg .y { text-anchor: end; }
.grid { stroke: var(--grid); fill: none; }
.c0 { stroke: var(--c0); fill: var(--c0); } .c1 { stroke: var(--c1); fill: var(--c1); }
.c2 { stroke: var(--c2); fill: var(--c2); } .c3 { stroke: var(--c3); fill: var(--c3); }
.c4 { stroke: var(--c4); fill: var(--c4); } .c5 { stroke: var(--c5); fill: var(--c5); }
.c6 { stroke: var(--c6); fill: var(--c6); } .c7 { stroke: var(--c7); fill: var(--c7); }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.faint.line { stroke-width: 1.3; opacity: .6; }
circle { stroke: none; }
)css";

/// A chart that is a file: behind kChartStyle.
inline constexpr const char* kPictureStyle = R"css(
svg { font-family: system-ui, sans-serif; } svg .title { fill: var(--text); font-size: 15px; }
.page { fill: var(--page); }
)css";

/// A page: behind kChartStyle.
inline constexpr const char* kPageStyle = R"css(
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 1500px; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: .3rem 0; }
.muted, .legend, figcaption { color: var(--muted); font-size: .9rem; }
.tiles { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }
.tiles div { background: var(--card); border-radius: 8px; padding: .5rem .8rem; flex: 1 1 8rem; }
.tiles b { display: block; font-size: 1.2rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: .8rem; }
figure { margin: 0; background: var(--card); border-radius: 8px; padding: .6rem; }
svg { display: block; width: 100%; height: auto; }
pre { background: var(--card); border-radius: 8px; padding: .7rem; margin: .3rem 0; white-space: pre-wrap;
  font: .82rem/1.55 ui-monospace, monospace; }
pre.tall { max-height: 30rem; overflow: auto; }
pre i { font-style: normal; color: var(--muted); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
td, th { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--grid); }
th { font-weight: normal; color: var(--muted); white-space: nowrap; }
td.n, th.n { text-align: right; }
.swatch { display: inline-block; width: 1.2em; height: .35em; margin: 0 .35em .2em 0; vertical-align: middle; }
.key { padding: 0 .3em; border-radius: 3px; color: var(--text); }
.b1 { background: rgba(var(--surprise), .10); } .b2 { background: rgba(var(--surprise), .22); }
.b3 { background: rgba(var(--surprise), .38); } .b4 { background: rgba(var(--surprise), .56); }
.b5 { background: rgba(var(--surprise), .78); }
)css";

}  // namespace report
