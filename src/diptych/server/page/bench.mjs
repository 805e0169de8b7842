// The benchmark page: kept results of `diptych bench` as a table to sort and filter, charts of it, and what computed each row.
import { ask } from "./api.mjs";
import { Dots, Lines } from "./charts.mjs";
import { Failure } from "./found.mjs";
import { html, useEffect, useMemo, useState } from "./lib.mjs";
import { named, number, t } from "./words.mjs";

const SIDES = ["IqT", "TqI"];
const RANKS = ["MedR", "MeanR"]; // smaller is better

export function BenchPage() {
  const [{ cells, error }, set] = useState({});
  const [choice, setChoice] = useState({ entry: "", family: "", bits: "", measure: "" });
  const [sort, setSort] = useState({ by: "IqT", down: true });
  const [shown, setShown] = useState(null);
  const load = () => ask("bench").then((found) => set({ cells: found.cells }), (failure) => set({ error: failure }));
  useEffect(() => { load(); }, []);
  const entries = useMemo(() => unique((cells || []).map((one) => one.entry)), [cells]);
  const entry = choice.entry || entries[0] || "";
  const here = (cells || []).filter((one) => one.entry === entry);
  const measures = Object.keys(here[0]?.IqT?.values || here[0]?.TqI?.values || {});
  const measure = measures.includes(choice.measure) ? choice.measure : here[0]?.measure || "";
  const kept = here.filter((one) => (!choice.family || one.family === choice.family) && (choice.bits === "" || one.bits === Number(choice.bits)));
  const rows = useMemo(() => sorted(grouped(kept, measure), sort, measure), [cells, entry, choice, measure, sort]);
  if (error) return html`<section class="wholepage"><${Failure} error=${error} again=${load} /></section>`;
  if (!cells) return html`<section class="wholepage" aria-busy="true" />`;
  // Other data may have no such family or length, and then nothing that could be chosen anew.
  const chosen = (name, value) => setChoice({ ...choice, ...(name === "entry" && { family: "", bits: "" }), [name]: value });
  const pick = (name, label, values, all) => html`
    <label>${label}<select value=${name === "entry" ? entry : name === "measure" ? measure : choice[name]} onChange=${(event) => chosen(name, event.target.value)}>
      ${all && html`<option value="">${all}</option>`}${values.map(([value, text]) => html`<option key=${value} value=${value}>${text}</option>`)}</select></label>`;
  const bits = unique(here.map((one) => one.bits)).sort((one, other) => one - other);
  return html`
    <section class="wholepage bench" aria-label=${t("bench.label")}>
      <header class="head"><h1>${t("bench.title")}</h1><p class="note">${t("bench.note")}</p></header>
      ${!cells.length && html`<div class="state"><h2>${t("bench.none")}</h2><p>${t("bench.none.more")}</p></div>`}
      <div class="picks">
        ${pick("entry", t("bench.data"), entries.map((one) => [one, one]))}
        ${pick("family", t("bench.family"), unique(here.map((one) => one.family)).map((one) => [one, named(`family.${one}`, one)]), t("bench.all"))}
        ${bits.length > 1 && pick("bits", t("bench.bits"), bits.map((one) => [String(one), one ? number(one) : t("bench.real")]), t("bench.all"))}
        ${pick("measure", t("bench.measure"), measures.map((one) => [one, one]))}
      </div>
      <div class="beside">
        <div class="wide" tabindex="0" role="region" aria-label=${t("bench.label")}><table>
          <caption>${t("bench.caption", { measure, entry, count: rows.length })}</caption>
          <thead><tr>${[["system", t("bench.system")], ["family", t("bench.family")], ["bits", t("bench.bits")], ["IqT", t("bench.IqT")], ["TqI", t("bench.TqI")], ["seeds", t("bench.seeds")], ["seconds", t("bench.seconds")]].map(([name, label]) => html`
            <th key=${name} scope="col" aria-sort=${sort.by === name ? (sort.down ? "descending" : "ascending") : "none"}>
              <button type="button" onClick=${() => setSort({ by: name, down: sort.by === name ? !sort.down : !["system", "family"].includes(name) })}>${label}<span aria-hidden="true">${sort.by === name ? (sort.down ? " ↓" : " ↑") : ""}</span></button></th>`)}</tr></thead>
          <tbody>${rows.map((row) => html`
            <tr key=${row.key} class=${shown?.key === row.key ? "on" : ""} onMouseEnter=${() => setShown(row)}>
              <th scope="row"><button type="button" class="plain" aria-controls="provenance" onFocus=${() => setShown(row)} onClick=${() => setShown(row)}>${row.system}</button></th>
              <td>${named(`family.${row.family}`, row.family)}</td><td class="number">${row.bits || "–"}</td>
              ${SIDES.map((side) => html`<td key=${side} class=${`number ${best(rows, row, side, measure) ? "best" : ""}`}>${row[side] ? spread(row[side], measure) : "–"}</td>`)}
              <td class="number">${number(row.seeds)}</td><td class="number">${row.seconds === null ? "–" : number(row.seconds)}</td></tr>`)}
          </tbody></table></div>
        <aside id="provenance" class="provenance" aria-live="polite"><${Provenance} row=${shown && rows.find((one) => one.key === shown.key)} /></aside>
      </div>
      <${Charts} rows=${rows} entry=${entry} measure=${measure} bits=${choice.bits} />
    </section>`;
}

const unique = (list) => [...new Set(list)];
const mean = (list) => list.reduce((sum, one) => sum + one, 0) / list.length;
const deviation = (list) => (list.length < 2 ? 0 : Math.sqrt(list.reduce((sum, one) => sum + (one - mean(list)) ** 2, 0) / (list.length - 1)));

/** A row for each system and code length; what was measured with several seeds is their mean and standard deviation. */
function grouped(cells, measure) {
  const groups = new Map();
  for (const cell of cells) {
    const key = JSON.stringify([cell.system, cell.bits, cell.features, cell.limit, cell.pairs, cell.protocol]);
    groups.set(key, [...(groups.get(key) || []), cell]);
  }
  return [...groups].map(([key, group]) => {
    const row = { key, cells: group, seeds: group.length, ...group[0], seconds: group.every((one) => one.cpu_seconds === null) ? null : mean(group.map((one) => one.cpu_seconds || 0)) };
    for (const side of SIDES) {
      const values = group.map((one) => one[side]?.values[measure]).filter((one) => one !== undefined);
      row[side] = values.length ? { mean: mean(values), deviation: deviation(values), count: values.length } : null;
    }
    return row;
  });
}

function sorted(rows, { by, down }) {
  const value = (row) => (SIDES.includes(by) ? row[by]?.mean ?? -Infinity : row[by] ?? -Infinity);
  return [...rows].sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    return (typeof a === "string" ? a.localeCompare(b) : a - b) * (down ? -1 : 1) || one.system.localeCompare(other.system);
  });
}

function best(rows, row, side, measure) {
  const values = rows.filter((one) => one.bits === row.bits && one[side]).map((one) => one[side].mean);
  return values.length > 1 && row[side]?.mean === (RANKS.includes(measure) ? Math.min : Math.max)(...values);
}

const digits = (measure) => (RANKS.includes(measure) ? 1 : 3);
const spread = (value, measure) => `${number(value.mean, digits(measure))}${value.count > 1 ? ` ± ${number(value.deviation, digits(measure))}` : ""}`;

/** What computed a row: the command, seeds, settings, code and data. */
function Provenance({ row }) {
  if (!row) return html`<p class="note">${t("bench.hover")}</p>`;
  const settings = Object.entries(row.settings).map(([name, value]) => `${name}=${value}`).join(", ");
  const ties = SIDES.map((side) => row[side] && row.cells[0][side].ties && row.cells[0][side].ties[0] !== row.cells[0][side].ties[1] ? `${side} ${row.cells[0][side].ties.map((one) => number(one, 3)).join(" – ")}` : "").filter(Boolean).join("; ");
  const facts = [
    ["bench.seeds", row.cells.map((one) => one.seed).join(", ")], ["bench.protocol", row.protocol], ["bench.features", row.features],
    ["bench.settings", settings], ["bench.ties", ties], ["bench.queries", SIDES.filter((side) => row.cells[0][side]).map((side) => `${side} ${number(row.cells[0][side].queries)} / ${number(row.cells[0][side].gallery)}`).join("; ")],
    ["bench.commit", unique(row.cells.map((one) => (one.commit || "").slice(0, 10))).join(", ")], ["bench.versions", Object.entries(row.versions || {}).map(([name, value]) => `${name} ${value}`).join(", ")],
  ];
  return html`<h2>${row.system}${row.bits ? `, ${t("model.bits", { bits: row.bits })}` : ""}</h2>
    ${row.command && html`<p><code>${row.command}</code></p>`}
    <dl>${facts.filter(([, value]) => value).map(([name, value]) => html`<div key=${name}><dt>${t(name)}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function Charts({ rows, entry, measure, bits }) {
  if (!rows.length) return null;
  const lengths = unique(rows.map((one) => one.bits)).sort((one, other) => one - other);
  const systems = unique(rows.map((one) => one.system));
  const middle = lengths[Math.floor(lengths.length / 2)];
  const curves = SIDES.map((side) => [side, rows.filter((one) => one.bits === middle && one.cells[0][side]?.curve).map((one) => ({ name: one.system, points: one.cells[0][side].curve[0].map((x, at) => [x, one.cells[0][side].curve[1][at]]) }))]);
  return html`
    <div class="charts">
      ${lengths.length > 1 && SIDES.map((side) => html`<${Lines} key=${side} title=${t("bench.bybits", { measure, side: t(`bench.${side}`) })} x=${t("bench.bits")} y=${measure} steps
        series=${systems.map((name) => ({ name, points: rows.filter((one) => one.system === name && one[side]).map((one) => [one.bits, one[side].mean, one[side].deviation]).sort((one, other) => one[0] - other[0]) })).filter((one) => one.points.length)} />`)}
      ${lengths.length === 1 && html`<${Dots} title=${t("bench.dots", { measure, entry })} x=${measure} labels=${SIDES}
        rows=${rows.map((one) => ({ name: one.system, values: SIDES.filter((side) => one[side]).map((side) => ({ label: side, ...one[side] })) }))} />`}
      ${curves.filter(([, series]) => series.length).map(([side, series]) => html`<${Lines} key=${`c${side}`} title=${t("bench.curve", { side: t(`bench.${side}`), bits: middle ? `, ${t("model.bits", { bits: middle })}` : "" })} x=${t("bench.recall")} y=${t("bench.precision")} series=${series} />`)}
    </div>`;
}
