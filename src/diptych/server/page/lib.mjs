// What every part of the page uses: markup, hooks, and small helpers without state.
import { h, Fragment, render } from "./vendor/preact.mjs";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/hooks.mjs";
import htm from "./vendor/htm.mjs";

export const html = htm.bind(h);
export { Fragment, render, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState };

/** The value, once it has not changed for so many milliseconds. */
export function useSettled(value, delay) {
  const [settled, set] = useState(value);
  useEffect(() => {
    if (delay === 0) { set(value); return undefined; }
    const timer = setTimeout(() => set(value), delay);
    return () => clearTimeout(timer);
  }, [value, delay]);
  return settled;
}

/** True once `active` has been for so long that somebody would wonder; waiting that is shorter is not shown. */
export function useSlow(active, delay = 200) {
  const [slow, set] = useState(false);
  useEffect(() => {
    if (!active) { set(false); return undefined; }
    const timer = setTimeout(() => set(true), delay);
    return () => clearTimeout(timer);
  }, [active, delay]);
  return slow;
}

/** Calls `handle` on an event of the window while the component is there. */
export function useEvent(name, handle, target = window) {
  const latest = useRef(handle);
  latest.current = handle;
  useEffect(() => {
    const call = (event) => latest.current(event);
    target.addEventListener(name, call);
    return () => target.removeEventListener(name, call);
  }, [name, target]);
}

/** Width of an element in CSS pixels, kept current. */
export function useWidth(ref) {
  const [width, set] = useState(0);
  useLayoutEffect(() => {
    const element = ref.current;
    if (!element) return undefined;
    set(element.clientWidth);
    const observer = new ResizeObserver(() => set(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return width;
}

/** Whether both panels stand side by side. */
export function useWide() {
  const query = useMemo(() => matchMedia("(min-width: 60rem)"), []);
  const [wide, set] = useState(query.matches);
  useEvent("change", () => set(query.matches), query);
  return wide;
}

/** Name and folder of an item's id. */
export function placed(id) {
  const cut = id.lastIndexOf("/");
  return { folder: cut < 0 ? "" : id.slice(0, cut), name: id.slice(cut + 1) };
}

/** The first line of a text. */
export const firstLine = (text) => (text || "").split("\n", 1)[0];

/** Whether all entries of a list are the same, and there are two at least. */
export const allSame = (list) => list.length > 1 && list.every((one) => one === list[0]);

/** A copy of an object without what is empty, for a request. */
export const filled = (object) =>
  Object.fromEntries(Object.entries(object).filter(([, value]) =>
    value !== null && value !== undefined && value !== "" && !(Array.isArray(value) && !value.length)));
