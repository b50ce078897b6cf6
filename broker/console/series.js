// Charts of what was measured between two times. All charts have the same time axis and share a crosshair.

import { HEIGHT, WHOLE, WIDTH, inWords, line, scaleOf } from './chart.js';
import { h, put, svg } from './dom.js';
import { ceiling, clock, dayOf, minuteOf, stamp, zone } from './format.js';

const [MINUTE, HOUR, DAY] = [60_000, 3_600_000, 86_400_000];
/** The possible distances between labels of a time axis. */
const STEPS = [1, 2, 5, 10, 15, 30].map((count) => count * MINUTE).concat([1, 2, 3, 6, 12].map((count) => count * HOUR), [1, 2, 5, 10].map((count) => count * DAY));
/** Maximum number of labels on an axis, on a phone and on larger screens. */
const TICKS = matchMedia('(max-width: 40rem)').matches ? 4 : 8;

/** Returns the position of a time between two others, from 0 to 1. */
export const placeOf = (moment, { from, to }) => (moment - from) / Math.max(1, to - from);

/** Returns the round times of day between two times, by the clock of the pages, each with its label. Pure. */
export function moments({ from, to }, most = TICKS, offset = -new Date(from).getTimezoneOffset() * MINUTE) {
  const shift = zone(from) === 'UTC' ? 0 : offset;
  const step = STEPS.find((one) => (to - from) / one <= most) ?? 30 * DAY;
  const first = Math.ceil((from + shift) / step) * step - shift;
  const count = Math.max(0, Math.floor((to - first) / step) + 1);
  return Array.from({ length: count }, (_, place) => first + place * step)
    .map((at) => ({ at, text: (at + shift) % DAY === 0 || step >= DAY ? dayOf(at) : minuteOf(at) }));
}

/** Returns the row of a time, which is the last row that began before it. Pure. */
export function rowAt(times, moment) {
  return Math.max(0, times.findLastIndex((time) => time <= moment));
}

/**
 * Creates a chart.
 * @param {string} title
 * @param {string} unit
 * @param {{name: string, column: string}[]} lines
 * @param {(value: number | null) => string} format
 * @param {(value: number, step: number) => number} of a value, in a row of `step` seconds
 */
export function series(title, unit, lines, format, of) {
  const values = lines.map(() => h('b'));
  const shapes = lines.map((_, place) => svg('path', { class: `line c${place}`, 'vector-effect': 'non-scaling-stroke' }));
  const [grid, marks] = [svg('g'), svg('g')];
  const pointer = svg('line', { class: 'pointer', y1: 0, y2: HEIGHT, 'vector-effect': 'non-scaling-stroke' });
  const brush = svg('rect', { class: 'brush', y: 0, height: HEIGHT });
  const picture = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${title}, ${unit}` }, grid, ...shapes, marks, brush, pointer);
  const [ys, xs] = ['ys', 'ticks'].map((name) => h('div', { class: name, 'aria-hidden': 'true' }));
  const when = h('span', { class: 'when' });
  const legend = h('p', { class: 'legend' }, ...lines.map(({ name }, place) => h('span', {}, h('i', { class: `key k${place}` }), name, ' ', values[place])), when);
  const empty = h('p', { class: 'empty' }, 'Nothing measured yet');
  const whole = h('section', { class: 'card chart' }, h('h2', {}, title, ' ', h('span', { class: 'quiet' }, unit)), legend, h('div', { class: 'plot' }, ys, picture, empty, xs));
  const upright = (moment, span, kind) => {
    const x = WIDTH * placeOf(moment, span);
    return svg('line', { class: kind, x1: x, x2: x, y1: 0, y2: HEIGHT, 'vector-effect': 'non-scaling-stroke' });
  };
  /** @type {(number | null)[][]} */
  let columns = [];
  /** @type {any} */
  let data = null;

  return {
    whole,
    picture,
    /** Shows other data or another time span. */
    draw(next, span) {
      data = next;
      columns = lines.map(({ column }) => (data.columns[column] ?? []).map((value) => (value === null ? null : of(value, data.step))));
      const most = ceiling(Math.max(WHOLE, ...columns.flat().filter((value) => value !== null)));
      empty.hidden = columns.some((column) => column.some((value) => value !== null));
      const { parts, texts } = scaleOf(most, format);
      ys.replaceChildren(...texts.map((text) => h('span', {}, text)));
      const ticks = moments(span);
      grid.replaceChildren(...Array.from({ length: parts }, (_, place) => (HEIGHT * place) / parts)
        .map((y) => svg('line', { class: 'grid', x1: 0, x2: WIDTH, y1: y, y2: y, 'vector-effect': 'non-scaling-stroke' })), ...ticks.map(({ at }) => upright(at, span, 'grid')));
      xs.replaceChildren(...ticks.map(({ at, text }) => {
        const label = h('span', {}, text);
        label.style.left = `${100 * placeOf(at, span)}%`;
        return label;
      }));
      marks.replaceChildren(...data.marks.filter(({ at }) => at >= span.from && at <= span.to).map((mark) => upright(mark.at, span, `at-${mark.kind}`)));
      columns.forEach((column, place) => shapes[place].setAttribute('d', line(data.columns.t, column, span.to - span.from, most, 2500 * data.step, span.to)));
      picture.setAttribute('aria-label', `${title}, ${unit}: ${lines.map(({ name }, place) => `${name} ${inWords(columns[place], format)}`).join('; ')}; from ${stamp(span.from)} to ${stamp(span.to)} ${zone(span.to)}`);
    },
    /** Shows the values at a time, or the last ones. */
    point(at, span) {
      const times = data.columns.t;
      const row = at === null ? times.length - 1 : rowAt(times, at);
      values.forEach((value, place) => put(value, format(columns[place][row] ?? null)));
      put(when, at === null ? '' : `${clock(at)} ${zone(at)}`);
      pointer.toggleAttribute('hidden', at === null);
      const x = at === null ? 0 : WIDTH * placeOf(at, span);
      for (const end of ['x1', 'x2']) pointer.setAttribute(end, String(x));
    },
    /** Shows the span that is about to be zoomed into. */
    brush(range, span) {
      const [from, to] = range === null ? [0, 0] : range.map((moment) => WIDTH * placeOf(moment, span));
      brush.setAttribute('x', String(Math.min(from, to)));
      brush.setAttribute('width', String(Math.abs(to - from)));
    },
    /** Returns the known values at a time, in words. */
    words(at) {
      const row = rowAt(data.columns.t, at);
      const known = lines.flatMap(({ name }, place) => ((columns[place][row] ?? null) === null ? [] : [`${name} ${format(columns[place][row])}`]));
      return known.length === 0 ? '' : `${title}: ${known.join(', ')} ${unit}`;
    },
  };
}
