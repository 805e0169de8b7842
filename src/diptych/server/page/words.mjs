// The page's texts, a file a language; {name} stands for a value, and a text with forms is chosen by `count`.

const LANGUAGES = { en: "English", de: "Deutsch" };
const KEPT = "diptych.language";
let texts = {}, fallback = {}, plural = new Intl.PluralRules("en"), language = "en";

export const languages = () => LANGUAGES;
export const current = () => language;

/** Loads the language that was chosen, or else the browser's; English where there is neither. */
export async function loadTexts(wanted = localStorage.getItem(KEPT)) {
  const known = [wanted, ...navigator.languages.map((one) => one.slice(0, 2))].find((one) => one in LANGUAGES);
  language = known || "en";
  fallback = await read("en");
  texts = language === "en" ? fallback : await read(language);
  plural = new Intl.PluralRules(language);
  document.documentElement.lang = language;
}

export function choose(wanted) {
  localStorage.setItem(KEPT, wanted);
  return loadTexts(wanted);
}

async function read(name) {
  const response = await fetch(`text/${name}.json`);
  return response.json();
}

/** The text of that name. */
export function t(name, values = {}) {
  let text = texts[name] ?? fallback[name];
  if (text === undefined) throw new Error(`the page has no text ${name}`);
  if (typeof text === "object") text = text[plural.select(values.count)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (_, key) => {
    const value = values[key];
    return typeof value === "number" ? number(value) : String(value ?? "");
  });
}

/** The text of that name, or else what is given: for names that the server may have more of. */
export const named = (name, otherwise) => (name in fallback ? t(name) : otherwise);

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(language, { maximumFractionDigits: digits, minimumFractionDigits: digits }).format(value);

/** A percentile, never rounded up to what it does not reach. */
export const percent = (value) => `${number(Math.floor(value * 10) / 10, 1)} %`;

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  for (; value >= 1000 && at < units.length - 1; at += 1) value /= 1000;
  return `${number(value, at && value < 10 ? 1 : 0)} ${units[at]}`;
}

export function duration(seconds) {
  if (seconds < 1) return t("time.ms", { ms: Math.max(1, Math.round(seconds * 1000)) });
  if (seconds < 90) return t("time.s", { s: number(seconds, seconds < 10 ? 1 : 0) });
  return t("time.min", { min: Math.round(seconds / 60) });
}
