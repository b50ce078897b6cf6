// A chart of the last hour, or of what there is of it: lines over time, with the values under the pointer.

import { h, put, svg } from './dom.js';
import { ceiling, clock } from './format.js';

const WIDTH = 600;
const HEIGHT = 140;
const MINUTE = 60_000;
/** Minutes that a chart may show. */
const SPANS = [2, 5, 10, 20, 30, 60];

/**
 * @param {string} title
 * @param {{name: string, column: string}[]} series
 * @param {(value: number | null) => string} format
 */
export function chart(title, series, format) {
  const paths = series.map((_, place) => svg('path', { class: `line c${place}`, 'vector-effect': 'non-scaling-stroke' }));
  const grid = [0.25, 0.5, 0.75].map((part) => svg('line', { class: 'grid', x1: 0, x2: WIDTH,
    y1: HEIGHT * part, y2: HEIGHT * part, 'vector-effect': 'non-scaling-stroke' }));
  const pointer = svg('line', { class: 'pointer', y1: 0, y2: HEIGHT, 'vector-effect': 'non-scaling-stroke', visibility: 'hidden' });
  const plot = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': title },
    ...grid, ...paths, pointer);
  const top = h('span', { class: 'top' });
  const middle = h('span', { class: 'middle' });
  const values = series.map(() => h('b'));
  const when = h('span', { class: 'when' }, 'now');
  const legend = h('p', { class: 'legend', 'aria-live': 'off' }, ...series.map(({ name }, place) =>
    h('span', {}, h('i', { class: `key k${place}` }), `${name} `, values[place])), when);
  const left = h('span', { class: 'left' });
  const empty = h('p', { class: 'empty' }, 'Nothing measured yet');
  const frame = h('div', { class: 'plot' }, plot, top, middle, h('span', { class: 'zero' }, '0'), empty,
    left, h('span', { class: 'right' }, 'now'));
  const whole = h('section', { class: 'card chart' }, h('h2', {}, title), legend, frame);

  let history = null;
  /** @type {number | null} */
  let under = null;

  plot.addEventListener('pointermove', (event) => {
    const box = plot.getBoundingClientRect();
    under = Math.min(1, Math.max(0, (/** @type {PointerEvent} */ (event).clientX - box.left) / box.width));
    draw();
  });
  plot.addEventListener('pointerleave', () => { under = null; draw(); });

  function draw() {
    if (history === null || history.t.length === 0) return;
    const end = history.t.at(-1);
    const minutes = SPANS.find((span) => end - history.t[0] <= span * MINUTE) ?? 60;
    const width = minutes * MINUTE;
    put(left, `${minutes} min ago`);
    const columns = series.map(({ column }) => history[column] ?? []);
    const most = ceiling(Math.max(0, ...columns.flat().filter((value) => value !== null)));
    put(top, format(most));
    put(middle, format(most / 2));
    empty.hidden = columns.some((column) => column.some((value) => value !== null));
    columns.forEach((column, place) => paths[place].setAttribute('d', line(history.t, column, width, most)));
    const at = under === null ? history.t.length - 1 : nearest(history.t, end - width + under * width);
    put(when, under === null ? 'now' : clock(history.t[at]));
    columns.forEach((column, place) => put(values[place], format(column[at] ?? null)));
    pointer.setAttribute('visibility', under === null ? 'hidden' : 'visible');
    const x = WIDTH * (1 - (end - history.t[at]) / width);
    pointer.setAttribute('x1', String(x));
    pointer.setAttribute('x2', String(x));
  }

  return { whole, update(next) { history = next; draw(); } };
}

/** The path of a column; a gap where nothing was measured. */
export function line(times, column, width, most) {
  const end = times.at(-1);
  let path = '';
  let drawn = false;
  column.forEach((value, place) => {
    const late = place > 0 && times[place] - times[place - 1] > 10_000;
    if (value === null || value === undefined) { drawn = false; return; }
    const x = WIDTH * (1 - (end - times[place]) / width);
    const y = HEIGHT * (1 - value / most);
    if (x >= 0) {
      path += `${drawn && !late ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}${drawn && !late ? '' : 'h.1'}`;
      drawn = true;
    }
  });
  return path;
}

function nearest(times, moment) {
  let low = 0;
  let high = times.length - 1;
  while (high - low > 1) {
    const half = (low + high) >> 1;
    if (times[half] < moment) low = half; else high = half;
  }
  return Math.abs(times[low] - moment) < Math.abs(times[high] - moment) ? low : high;
}
