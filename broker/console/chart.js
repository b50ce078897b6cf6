// Column charts of the last hour by minute, sparklines, and the parts of other charts (see series.js).

import { h, put, svg } from './dom.js';
import { ceiling, number } from './format.js';

export const WIDTH = 600;
export const HEIGHT = 140;
const MINUTE = 60_000;
/** The numbers of minutes that a chart can show. */
const SPANS = [2, 4, 6, 10, 14, 20, 30, 40, 60];
/** Number of equal parts of a scale, by the first digit of its upper end. Each part is then a round number. */
const PARTS = { 1: 5, 2: 4, 5: 5 };
/** The smallest upper end of a scale of whole numbers. Its parts are whole numbers, too. */
export const WHOLE = 5;
/** The number of checks that have a colour of their own in columns. */
const CHECKS = 4;

/** Returns the number of equal parts of a scale that ends at a value, and their labels from top to bottom. */
export function scaleOf(most, format) {
  const parts = PARTS[String(most / 10 ** Math.floor(Math.log10(most) + 1e-9)).charAt(0)] ?? 5;
  return { parts, texts: Array.from({ length: parts + 1 }, (_, place) => (place === parts ? '0' : format((most * (parts - place)) / parts))) };
}

/**
 * Creates a card with a heading, a legend, and a plot of one hour with its scales. `draw` is called when the pointer
 * moves.
 */
function frame(title, unit, draw) {
  const [grid, drawing] = [svg('g'), svg('g')];
  const pointer = svg('line', { class: 'pointer', y1: 0, y2: HEIGHT, 'vector-effect': 'non-scaling-stroke' });
  const plot = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${title}, ${unit}` },
    grid, drawing, pointer);
  const ys = h('div', { class: 'ys', 'aria-hidden': 'true' });
  const xs = h('div', { class: 'xs', 'aria-hidden': 'true' }, ...['60 min ago', '30 min ago', 'now'].map((text) => h('span', {}, text)));
  const legend = h('p', { class: 'legend', 'aria-live': 'off' });
  const when = h('span', { class: 'when' });
  const empty = h('p', { class: 'empty' }, 'None in the last hour');
  const whole = h('section', { class: 'card chart' }, h('h2', {}, title, ' ', h('span', { class: 'quiet' }, unit)), legend,
    h('div', { class: 'plot' }, ys, plot, empty, xs));
  const it = { whole, drawing, legend, when, empty, /** @type {number | null} */ under: null,
    scale(most) {
      const { parts, texts } = scaleOf(most, number);
      ys.replaceChildren(...texts.map((text) => h('span', {}, text)));
      const across = Array.from({ length: parts }, (_, place) => (HEIGHT * place) / parts).map((y) => ({ x1: 0, x2: WIDTH, y1: y, y2: y }));
      const down = [0, 0.25, 0.5, 0.75, 1].map((part) => ({ x1: WIDTH * part, x2: WIDTH * part, y1: 0, y2: HEIGHT }));
      grid.replaceChildren(...[...across, ...down].map((line) => svg('line', { class: 'grid', ...line, 'vector-effect': 'non-scaling-stroke' })));
    },
    /** Shows to which minute the values belong. */
    point(minute) {
      put(when, minute === null ? 'the last hour' : `${59 - minute} min ago`);
      pointer.toggleAttribute('hidden', minute === null);
      for (const end of ['x1', 'x2']) pointer.setAttribute(end, String(((minute ?? 0) + 0.5) * 10));
    } };
  underPointer(plot, (part) => { it.under = part; draw(); });
  return it;
}

/** Reports where the pointer is in a picture, from 0 to 1, and reports null when it leaves. */
export function underPointer(picture, tell) {
  picture.addEventListener('pointermove', (event) => {
    const box = picture.getBoundingClientRect();
    tell(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
  });
  picture.addEventListener('pointerleave', () => tell(null));
}

/** Creates the entry of a name in a legend, with its colour and its value. */
function named(name, place, value, href) {
  const text = href === undefined ? name : h('a', { href }, name);
  return h('span', {}, h('i', { class: `key k${place}` }), text, ' ', value);
}

/**
 * Creates a column chart of the last hour by minute. The parts of a column are stacked: the most frequent names have a
 * part each, and all other names share one.
 */
export function columns(title, unit, link) {
  let rows = [];
  const it = frame(title, unit, draw);

  function draw() {
    const sums = Array.from({ length: 60 }, (_, minute) => rows.reduce((sum, row) => sum + row.minutes[minute], 0));
    const most = ceiling(Math.max(WHOLE, ...sums));
    it.scale(most);
    it.empty.hidden = rows.length > 0;
    const under = it.under === null ? null : Math.min(59, Math.floor(it.under * 60));
    const below = new Array(60).fill(0);
    const paths = rows.map((row, place) => svg('path', { class: `f${place}`, d: row.minutes.map((count, minute) => {
      const from = below[minute];
      below[minute] += count;
      return count === 0 ? '' : bar(minute, from / most, below[minute] / most);
    }).join('') }));
    it.drawing.replaceChildren(...paths);
    const value = (row) => number(under === null ? row.minutes.reduce((sum, one) => sum + one, 0) : row.minutes[under]);
    it.legend.replaceChildren(...rows.map((row, place) => named(row.name, place, h('b', {}, value(row)), link(row.name))), it.when);
    it.point(under);
  }

  draw();
  return { whole: it.whole, update(groups) { rows = byName(groups); draw(); } };
}

const bar = (minute, from, to) => `M${minute * 10 + 1} ${(HEIGHT * (1 - from)).toFixed(1)}V${(HEIGHT * (1 - to)).toFixed(1)}h8V${(HEIGHT * (1 - from)).toFixed(1)}z`;

/** Sums the minutes of groups by check. All but the most frequent checks are combined. Pure. */
export function byName(groups) {
  const sums = new Map();
  for (const { check, minutes } of groups) {
    if (!minutes?.some((one) => one > 0)) continue;
    const sum = sums.get(check) ?? new Array(60).fill(0);
    minutes.forEach((one, place) => { sum[place] += one; });
    sums.set(check, sum);
  }
  const total = (minutes) => minutes.reduce((sum, one) => sum + one, 0);
  const rows = [...sums].map(([name, minutes]) => ({ name, minutes })).toSorted((a, b) => total(b.minutes) - total(a.minutes));
  const rest = rows.slice(CHECKS);
  if (rest.length === 0) return rows;
  const others = rest.reduce((sum, { minutes }) => sum.map((one, place) => one + minutes[place]), new Array(60).fill(0));
  return [...rows.slice(0, CHECKS), { name: 'others', minutes: others }];
}

/** Describes a column by its last value and its bounds, as in "150, between 0 and 456". Pure. */
export function inWords(column, format) {
  const known = column.filter((value) => value !== null);
  return known.length === 0 ? 'nothing measured' : `${format(known.at(-1))}, between ${format(Math.min(...known))} and ${format(Math.max(...known))}`;
}

/** Returns the path of a column. The path has a gap where nothing was measured for longer than `gap`. */
export function line(times, column, width, most, gap = 10_000, end = times.at(-1)) {
  let path = '';
  let drawn = false;
  column.forEach((value, place) => {
    const late = place > 0 && times[place] - times[place - 1] > gap;
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

/** Returns the area below a path made by `line`. Pure. */
export function area(path) {
  return path.split('M').slice(1).map((run) => {
    const points = run.replace('h.1', '');
    return `M${points.split(' ')[0]} ${HEIGHT}L${points}V${HEIGHT}z`;
  }).join('');
}

/** Creates a sparkline of the last minutes of a column. */
export function spark() {
  const shapes = [svg('path', { class: 'area a0' }), svg('path', { class: 'line c0', 'vector-effect': 'non-scaling-stroke' })];
  const whole = svg('svg', { class: 'spark', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, ...shapes);
  return { whole, update(times, column) {
    const path = line(times, column, Math.min(10, spanOf(times)) * MINUTE, ceiling(Math.max(0, ...column.filter((value) => value !== null))));
    shapes[0].setAttribute('d', area(path));
    shapes[1].setAttribute('d', path);
  } };
}

/** Returns the number of minutes to show, such that all of these times fit. The last time is at the end. */
const spanOf = (times) => SPANS.find((span) => times.at(-1) - times[0] <= span * MINUTE) ?? 60;
