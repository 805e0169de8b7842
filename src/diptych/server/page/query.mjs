// What is asked: its parts, how it becomes the address of the page, and how a request to the server.
import { filled } from "./lib.mjs";

export const FACETS = ["year", "folder", "camera", "tag"];
export const PAGE = 60; // results asked for at a time

/** Nothing asked: everything, newest first. */
export const nothing = () => ({
  words: "", weight: 1, terms: [], to: "image", by: "both", fold: "exact", least: "", rerank: false, model: "",
  chosen: {}, from: "", until: "", where: "",
});

let keys = 0;
/** A part of a query beside its first words: kind is "words", "item" or "picture". */
export const term = (kind, facts) => ({ key: `t${(keys += 1)}`, kind, weight: kind === "words" && facts.minus ? 0.5 : 1, minus: false, ...facts });

export const isEmpty = (asked) => !asked.words.trim() && !asked.terms.some(says);
const says = (one) => one.kind !== "words" || one.words.trim();

/** Whether the results are limited to a part of the pictures. */
export const isLimited = (asked) => whereOf(asked) !== null;

/** The filter as the server reads it; null for none. `but` leaves out the choice of one facet. */
export function whereOf(asked, but = "") {
  const parts = Object.entries(asked.chosen)
    .filter(([field, values]) => field !== but && values.length)
    .map(([field, values]) => anyOf(field, values));
  if (asked.from) parts.push(`date >= ${asked.from}`);
  if (asked.until) parts.push(`date <= ${asked.until}`);
  const own = asked.where.trim();
  if (own) parts.push(parts.length ? `(${own})` : own); // alone as it is typed, so that places in errors are right
  return parts.length ? parts.join(" and ") : null;
}

function anyOf(field, values) {
  const name = /^[a-z]+$/.test(field) ? field : `"${field}"`;
  const some = values.filter((value) => value !== null).map(quoted);
  const parts = some.length ? [`${name} in (${some.join(", ")})`] : [];
  if (values.includes(null)) parts.push(`${name} is null`);
  return parts.length > 1 ? `(${parts.join(" or ")})` : parts[0];
}

const quoted = (value) => (typeof value === "number" ? String(value) : `'${value.replaceAll("'", "''")}'`);

/** The parts of a query as the server reads them. */
export function partsOf(asked) {
  const text = [], negative = [], like = [], image = [];
  if (asked.words.trim()) text.push({ text: asked.words.trim(), weight: asked.weight });
  for (const one of asked.terms.filter(says)) {
    if (one.kind === "words") (one.minus ? negative : text).push({ text: one.words.trim(), weight: one.weight });
    else if (one.kind === "item") like.push({ item: one.item, weight: one.weight });
    else if (one.upload) image.push({ upload: one.upload, weight: one.weight });
  }
  return filled({ text, negative, like, image });
}

/** The whole request for one page of results. */
export const requestOf = (asked, collection, offset) => filled({
  ...partsOf(asked), collection, to: asked.to, by: asked.by, fold: asked.fold, min_score: asked.least,
  model: asked.model, where: whereOf(asked), k: PAGE, offset, ...(asked.rerank ? { rerank: true } : {}),
});

/** The query in the page's address, of a collection where there are several; pictures from elsewhere cannot be there. */
export function toAddress(asked, collection = "") {
  const to = new URLSearchParams(collection && { in: collection }), plain = nothing();
  if (asked.words) to.set("q", asked.words);
  if (asked.weight !== 1) to.set("w", asked.weight);
  for (const one of asked.terms) {
    if (one.kind === "words" && one.words) to.append(one.minus ? "not" : "and", `${one.weight}:${one.words}`);
    if (one.kind === "item") to.append("like", `${one.weight}:${one.item}:${one.name}`);
  }
  for (const name of ["to", "by", "fold", "least", "model", "from", "until", "where"])
    if (asked[name] !== plain[name]) to.set(name, asked[name]);
  if (asked.rerank) to.set("rerank", "1");
  for (const [field, values] of Object.entries(asked.chosen)) for (const value of values) to.append(`is.${field}`, JSON.stringify(value));
  return to.toString();
}

/** The query without what is typed and weighed: as long as that stays, somebody is still asking the same. */
export const shapeOf = (asked) =>
  toAddress({ ...asked, words: "", weight: 1, terms: asked.terms.map((one) => ({ ...one, words: one.words && "…", weight: 1 })) });

export function fromAddress(text) {
  const from = new URLSearchParams(text), asked = nothing();
  asked.words = from.get("q") || "";
  asked.weight = Number(from.get("w")) || 1;
  for (const [name, minus] of [["and", false], ["not", true]])
    for (const one of from.getAll(name)) {
      const cut = one.indexOf(":");
      asked.terms.push(term("words", { minus, weight: Number(one.slice(0, cut)) || 1, words: one.slice(cut + 1) }));
    }
  for (const one of from.getAll("like")) {
    const [weight, item, ...name] = one.split(":");
    asked.terms.push(term("item", { weight: Number(weight) || 1, item: Number(item), name: name.join(":") }));
  }
  for (const name of ["to", "by", "fold", "least", "model", "from", "until", "where"]) asked[name] = from.get(name) ?? asked[name];
  asked.rerank = from.has("rerank");
  for (const [name, value] of from) {
    if (!name.startsWith("is.")) continue;
    try {
      const one = JSON.parse(value);
      if (one === null || ["string", "number"].includes(typeof one)) (asked.chosen[name.slice(3)] ||= []).push(one);
    } catch { /* somebody else's address: a choice that is none is left out */ }
  }
  return asked;
}
