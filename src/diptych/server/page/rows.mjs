// Pictures in justified rows: every row as wide as the page, no picture cut or boxed, and only visible rows in the page.

const WIDEST = 3.2, NARROWEST = 0.45; // width by height; what is beyond is cropped

/** Width by height of a result's picture; of what does not say, that of most photographs. */
export function ratioOf(result) {
  const { width, height } = result.meta;
  return width > 0 && height > 0 ? Math.min(Math.max(width / height, NARROWEST), WIDEST) : 4 / 3;
}

/**
 * Rows of a grid, from top to bottom.
 *
 * @param results what is shown
 * @param width CSS pixels of the grid
 * @param target wanted height of a picture
 * @param gap CSS pixels between pictures
 * @param foot gives the height of what stands below the pictures of a row
 * @param whole whether these are all; then the last row keeps the wanted height, else it is left for the next page
 * @returns rows [{top, height, total, tiles: [{at, left, width}]}] and the height of all
 */
export function justified(results, { width, target, gap, foot, whole }) {
  const rows = [];
  let top = 0, first = 0, sum = 0;
  const close = (end, height) => {
    let left = 0;
    const tiles = [];
    for (let at = first; at < end; at += 1) {
      const wide = ratioOf(results[at]) * height;
      tiles.push({ at, left, width: wide });
      left += wide + gap;
    }
    const total = height + foot(results.slice(first, end));
    rows.push({ top, height, total, tiles });
    top += total;
    [first, sum] = [end, 0];
  };
  results.forEach((result, at) => {
    const ratio = ratioOf(result), gaps = gap * (at - first);
    const before = sum ? (width - gap * (at - first - 1)) / sum : Infinity, after = (width - gaps) / (sum + ratio);
    // The row ends before this picture where that comes nearer to the wanted height.
    if (sum && after < target && before - target < target - after) close(at, before);
    sum += ratio;
    const height = (width - gap * (at - first)) / sum;
    if (height <= target) close(at + 1, height);
  });
  if (first < results.length && (whole || !rows.length)) {
    const full = (width - gap * (results.length - first - 1)) / sum;
    close(results.length, Math.min(full, target));
  }
  return { rows, height: top };
}

/** Which rows, from `first` up to before `last`, lie between two heights. */
export function between(rows, from, to) {
  let first = rows.findIndex((row) => row.top + row.total > from);
  if (first < 0) first = rows.length;
  let last = first;
  while (last < rows.length && rows[last].top < to) last += 1;
  return [first, last];
}
