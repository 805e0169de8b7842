// Charts as SVG: lines over an axis and dots in rows, both with error bars; the table beside them says the same in numbers.
import { html, useState } from "./lib.mjs";
import { number } from "./words.mjs";

const COLOURS = 9; // of page.css; a second round of lines is dashed
const WIDTH = 520, LEFT = 52, RIGHT = 14, TOP = 12, BOTTOM = 42;

/** Ticks of an axis: a few round numbers from low to high. */
function ticks(low, high, count = 5) {
  const rough = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

const range = (values, pad = 0.06) => {
  const low = Math.min(...values), high = Math.max(...values), more = (high - low || Math.abs(high) || 1) * pad;
  return [low - more, high + more];
};

/** Lines: series [{name, points: [[x, y, deviation]]}], drawn over the values of x in equal steps where `steps`. */
export function Lines({ title, series, x, y, steps = false }) {
  const [only, setOnly] = useState(null);
  const points = series.flatMap((one) => one.points);
  if (!points.length) return null;
  const places = [...new Set(points.map(([at]) => at))].sort((one, other) => one - other);
  const along = steps ? (at) => places.indexOf(at) : (at) => at;
  const [left, right] = steps ? [-0.3, places.length - 0.7] : range(places, 0.02);
  const [low, high] = range(points.flatMap(([, value, off = 0]) => [value - off, value + off]));
  const height = 300, across = (at) => LEFT + ((along(at) - left) / (right - left)) * (WIDTH - LEFT - RIGHT);
  const up = (value) => height - BOTTOM - ((value - low) / (high - low)) * (height - TOP - BOTTOM);
  return html`
    <figure class="chart"><figcaption>${title}</figcaption>
      <svg viewBox=${`0 0 ${WIDTH} ${height}`} role="img" aria-label=${title}>
        ${ticks(low, high).map((at) => html`<g key=${at} class="rule"><line x1=${LEFT} x2=${WIDTH - RIGHT} y1=${up(at)} y2=${up(at)} /><text x=${LEFT - 7} y=${up(at) + 4} text-anchor="end">${number(at, 2)}</text></g>`)}
        ${(steps ? places : ticks(left, right)).map((at) => html`<text key=${at} class="tick" x=${across(at)} y=${height - BOTTOM + 18} text-anchor="middle">${steps ? number(at) : number(at, 1)}</text>`)}
        <text class="axis" x=${(LEFT + WIDTH - RIGHT) / 2} y=${height - 5} text-anchor="middle">${x}</text>
        <text class="axis" x=${-(height - BOTTOM) / 2} y="12" transform="rotate(-90)" text-anchor="middle">${y}</text>
        ${series.map((one, at) => html`
          <g key=${one.name} class=${`series c${at % COLOURS} ${at >= COLOURS ? "dashed" : ""} ${only !== null && only !== at ? "faint" : ""}`}>
            <title>${one.name}</title>
            <polyline points=${one.points.map(([px, py]) => `${across(px)},${up(py)}`).join(" ")} />
            ${one.points.map(([px, py, off]) => html`
              ${off > 0 && html`<path class="bar" d=${`M${across(px) - 4} ${up(py - off)}h8m-4 0V${up(py + off)}m-4 0h8`} />`}
              ${one.points.length < 12 && html`<circle cx=${across(px)} cy=${up(py)} r="3"><title>${`${one.name}: ${number(py, 3)}${off ? ` ± ${number(off, 3)}` : ""}`}</title></circle>`}`)}
          </g>`)}
      </svg>
      <ul class="key">${series.map((one, at) => html`<li key=${one.name} class=${`c${at % COLOURS} ${at >= COLOURS ? "dashed" : ""}`} onMouseEnter=${() => setOnly(at)} onMouseLeave=${() => setOnly(null)}><i /> ${one.name}</li>`)}</ul>
    </figure>`;
}

/** Dots: a row for each of [{name, values: [{label, mean, deviation}]}], best first. */
export function Dots({ title, rows, x, labels }) {
  if (!rows.length) return null;
  const height = TOP + BOTTOM + 22 * rows.length, left = 150;
  const [low, high] = range(rows.flatMap((row) => row.values.flatMap((one) => [one.mean - one.deviation, one.mean + one.deviation])));
  const across = (value) => left + ((value - low) / (high - low)) * (WIDTH - left - RIGHT);
  return html`
    <figure class="chart"><figcaption>${title}</figcaption>
      <svg viewBox=${`0 0 ${WIDTH} ${height}`} role="img" aria-label=${title}>
        ${ticks(low, high).map((at) => html`<g key=${at} class="rule"><line x1=${across(at)} x2=${across(at)} y1=${TOP} y2=${height - BOTTOM} /><text x=${across(at)} y=${height - BOTTOM + 18} text-anchor="middle">${number(at, 2)}</text></g>`)}
        ${rows.map((row, at) => {
          const y = TOP + 22 * at + 11;
          return html`<g key=${row.name}><text class="tick" x=${left - 8} y=${y + 4} text-anchor="end">${row.name}</text>
            ${row.values.map((one) => html`<g class=${`series c${labels.indexOf(one.label)}`}><title>${`${row.name} ${one.label}: ${number(one.mean, 3)}${one.deviation ? ` ± ${number(one.deviation, 3)}` : ""}`}</title>
              ${one.deviation > 0 && html`<path class="bar" d=${`M${across(one.mean - one.deviation)} ${y - 4}v8m0 -4H${across(one.mean + one.deviation)}m0 -4v8`} />`}
              <circle cx=${across(one.mean)} cy=${y} r="4" /></g>`)}</g>`;
        })}
        <text class="axis" x=${(left + WIDTH - RIGHT) / 2} y=${height - 5} text-anchor="middle">${x}</text>
      </svg>
      <ul class="key">${labels.map((label, at) => html`<li key=${label} class=${`c${at}`}><i /> ${label}</li>`)}</ul>
    </figure>`;
}
