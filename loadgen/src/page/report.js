'use strict';
// Draws a report from the JSON that is embedded in the page, and replaces the plain table with it. The texts in the JSON
// come from files and services, so they become text nodes and attributes, never markup.

const { runs, rows, failures, steps, whole } = JSON.parse(document.getElementById('data').textContent);
const several = runs.length > 1;

// Elements

/** Characters that control a terminal or the direction of text. */
const STEERING = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;
const visible = (text) => String(text).replace(STEERING, '\ufffd');

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'style') Object.assign(element.style, value);
    else if (typeof value === 'boolean') element.toggleAttribute(name, value);
    else if (value !== undefined && value !== null) element.setAttribute(name, visible(value));
  }
  const known = children.flat(Infinity).filter((child) => child !== undefined && child !== null);
  element.append(...known.map((child) => (child instanceof Node ? child : visible(child))));
  return element;
}

/** Creates an element. Its children are nodes, texts, and lists of these; null and undefined are left out. */
const h = (tag, properties = {}, ...children) => filled(document.createElement(tag), properties, children);
const SVG = 'http://www.w3.org/2000/svg';
const svg = (tag, properties = {}, ...children) => filled(document.createElementNS(SVG, tag), properties, children);
const section = (title, ...children) => h('section', {}, h('h2', {}, title), ...children);
const key = (look) => h('i', { class: `key ${look}` });

// Formats figures for human readers, with three digits and a unit, as in the program's own table (words.rs)

const UNKNOWN = '–';
const count = (value) => Math.round(value).toLocaleString('en-US');

function three(value) {
  const size = Math.abs(value);
  return value.toFixed(size === 0 || size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2).replace(/\.0+$/, '');
}

function figure(value) {
  if (!Number.isFinite(value)) return UNKNOWN;
  if (value >= 1e6) return value < 1e9 ? `${three(value / 1e6)} M` : `${three(value / 1e9)} G`;
  return value < 999.5 ? three(value) : count(value);
}

function seconds(value) {
  if (!(value >= 0 && value < 1e10)) return UNKNOWN;
  if (value < 99.95) return `${three(value)} s`;
  const minutes = Math.floor(Math.round(value) / 60);
  if (minutes < 60) return `${minutes} min ${two(Math.round(value) % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

const two = (value) => String(Math.floor(value)).padStart(2, '0');
const micros = (us) => (us < 1e3 ? `${three(us)} µs` : us < 999_500 ? `${three(us / 1e3)} ms` : seconds(us / 1e6));
const cores = (cpu, { duration_s }) => (duration_s > 0 ? `${(cpu / duration_s).toFixed(2)} cores` : UNKNOWN);

function bytes(value) {
  const place = Math.min(4, Math.max(0, Math.floor(Math.log2(value) / 10)));
  return `${three(value / 1024 ** place)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][place]}`;
}

/** Formats a share as a percentage. The share is given by its number of nines, which is -log10(1 - share). */
function percent(nines) {
  return `${Number((100 * (1 - 10 ** -nines)).toFixed(nines < 2 ? 1 : 4))} %`;
}

/** Formats a time on an axis that ends after `end` seconds: `30 s`, `2:30` or `1:30 h`. */
function moment(at, end) {
  if (at === 0) return '0';
  if (end <= 90) return seconds(at);
  return end <= 3 * 3600 ? `${Math.floor(at / 60)}:${two(at % 60)}` : `${Math.floor(at / 3600)}:${two((at / 60) % 60)} h`;
}

// Axes. The place of a value is 0 at the near edge and 1 at the far edge.

const DIGITS = [1, 2, 5, 10];
const decade = (value) => 10 ** Math.floor(Math.log10(value));
/** Returns the smallest number that is 1, 2 or 5 times a power of ten and not below a value. */
const above = (value) => decade(value) * DIGITS.find((digit) => digit * decade(value) >= value * 0.999_999);
const inside = (place) => Math.min(1, Math.max(0, Number.isFinite(place) ? place : 0));

function multiples(step, end) {
  const length = Math.min(12, Math.floor(end / step + 1e-6) + 1);
  return Array.from({ length }, (_, number) => number * step);
}

/** Returns an axis from zero to a round number that is not below any of the values. */
function even(values) {
  const most = Math.max(0, ...values) || 1;
  const step = above(most / 5);
  const end = Math.ceil((most * 1.02) / step) * step;
  return { place: (value) => inside(value / end), ticks: multiples(step, end) };
}

/** Returns a logarithmic axis, whose ends are 1, 2 or 5 times a power of ten. */
function decades(values) {
  const sound = values.filter((value) => value > 0);
  const [least, most] = sound.length > 0 ? [Math.min(...sound), Math.max(...sound)] : [1, 10];
  const near = decade(least) * DIGITS.findLast((digit) => digit * decade(least) <= least * 1.001);
  const end = above(Math.max(most, near * 1.001));
  const all = [];
  for (let tens = decade(near); tens <= end; tens *= 10) all.push(...[1, 2, 5].map((digit) => digit * tens));
  const fine = all.filter((tick) => tick > near * 0.999 && tick < end * 1.001);
  const full = fine.filter((tick) => Math.abs(tick / decade(tick * 1.001) - 1) < 1e-6);
  const ticks = fine.length <= 8 ? fine : full.filter((_, place) => full.length <= 12 || place % 3 === 0);
  return { place: (value) => inside(Math.log(value / near) / Math.log(end / near)), ticks };
}

// Plots. The lines are in an SVG that stretches with the page. The texts are in HTML beside the SVG, so that they stay
// legible at any width.

const SIDE = 1000;
const known = ({ points }) => points.filter(([, y]) => y !== null);
const values = (lines) => lines.flatMap((line) => known(line).map(([, y]) => y));

/**
 * Draws a plot. Each line is `{ name, look, filled, points: [[x, y], …] }`, where a y of null is a gap. Returns `undefined`
 * if there is nothing to draw. `x` and `y` each contain a function that returns the place of a value, the ticks, and a
 * function that formats a value.
 */
function plot(title, note, lines, x, y, shades = []) {
  if (!lines.some((line) => known(line).length > 0)) return undefined;
  const across = (value) => (SIDE * x.place(value)).toFixed(1);
  const up = (value) => (SIDE * (1 - y.place(value))).toFixed(1);
  const range = (line) => {
    const ys = values([line]);
    return ys.length > 0 ? `; ${line.name}: ${y.say(Math.min(...ys))} to ${y.say(Math.max(...ys))}` : '';
  };
  const grid = y.ticks.map((tick) => `M0 ${up(tick)}H${SIDE}`).concat(x.ticks.map(([tick]) => `M${across(tick)} 0V${SIDE}`));
  const view = { viewBox: `0 0 ${SIDE} ${SIDE}`, preserveAspectRatio: 'none', role: 'img' };
  const drawing = svg('svg', { ...view, 'aria-label': title + lines.map(range).join('') },
    svg('path', { class: 'grid', d: grid.join('') }),
    shades.map(([from, to]) => svg('path', { class: 'shade', d: `M${across(from)} 0H${across(to)}V${SIDE}H${across(from)}Z` })),
    lines.map((line) => drawn(line, across, up)));
  const xs = x.ticks.map(([tick, text]) => {
    const place = x.place(tick);
    return h('span', { class: place < 0.03 ? 'first' : place > 0.97 ? 'last' : null, style: { left: `${100 * place}%` } }, text);
  });
  const area = h('div', { class: 'area' }, drawing);
  const ys = y.ticks.map((tick) => h('span', { style: { top: `${100 * (1 - y.place(tick))}%` } }, y.say(tick)));
  const frame = h('div', { class: 'frame', tabindex: '0', role: 'group', 'aria-label': `${title}: arrow keys read the values` },
    h('div', { class: 'ys' }, ys), area, h('div', { class: 'xs' }, xs));
  readings(frame, area, lines.filter((line) => known(line).length > 0), x, y);
  const legend = h('ul', { class: 'legend' }, lines.map((line) => h('li', {}, key(line.look), line.name)));
  return h('figure', { class: 'card plot' }, h('figcaption', {}, h('h3', {}, title), h('p', {}, note)),
    lines.length > 1 ? legend : null, frame);
}

/** Returns the shapes of a line: the area below it, its stretches between gaps, and points that have no neighbour. */
function drawn({ look, filled: ground, points }, across, up) {
  const stretches = [[]];
  for (const [x, y] of points) {
    if (y === null) stretches.push([]);
    else stretches.at(-1).push(`${across(x)} ${up(y)}`);
  }
  const long = stretches.filter((stretch) => stretch.length > 1);
  const below = (stretch) => `M${stretch[0].split(' ')[0]} ${SIDE}L${stretch.join('L')}L${stretch.at(-1).split(' ')[0]} ${SIDE}Z`;
  const single = stretches.filter((stretch) => stretch.length === 1).map(([point]) => `M${point}h0`);
  return [
    ground ? svg('path', { class: `ground ${look}`, d: long.map(below).join('') }) : null,
    svg('path', { class: `line ${look}`, d: long.map((stretch) => `M${stretch.join('L')}`).join('') }),
    single.length > 0 ? svg('path', { class: `dots ${look}`, d: single.join('') }) : null,
  ];
}

/** Shows the values under the pointer, or at the position selected with the arrow keys. */
function readings(frame, area, lines, x, y) {
  const cursor = h('div', { class: 'cursor', hidden: true });
  const tip = h('div', { class: 'tip', hidden: true });
  const dots = lines.map((line) => h('i', { class: `dot ${line.look}`, hidden: true }));
  const all = lines.map((line) => known(line).map(([at, value]) => ({ left: x.place(at), top: 1 - y.place(value), at, value })));
  const longest = all.reduce((most, points) => (points.length > most.length ? points : most));
  const nearer = (place) => (best, point) => (Math.abs(point.left - place) < Math.abs(best.left - place) ? point : best);
  const nearest = (points, place) => points.reduce(nearer(place));
  let current = longest[0];
  const show = (point) => {
    current = point;
    const found = all.map((points) => nearest(points, point.left));
    const near = found.map(({ left }) => Math.abs(left - point.left) < 0.02);
    dots.forEach((dot, place) => {
      dot.hidden = !near[place];
      Object.assign(dot.style, { left: `${100 * found[place].left}%`, top: `${100 * found[place].top}%` });
    });
    tip.replaceChildren(h('b', {}, x.say(point.at)), ...lines.map((line, place) =>
      h('div', {}, h('span', {}, key(line.look), line.name), h('span', {}, near[place] ? y.say(found[place].value) : UNKNOWN))));
    cursor.hidden = tip.hidden = false;
    cursor.style.left = `${100 * point.left}%`;
    const middle = point.left * area.clientWidth;
    tip.style.left = `${Math.max(0, point.left > 0.5 ? middle - tip.offsetWidth - 12 : middle + 12)}px`;
  };
  const hide = () => [cursor, tip, ...dots].forEach((element) => { element.hidden = true; });
  area.append(cursor, tip, ...dots);
  area.addEventListener('pointermove', ({ clientX }) => {
    const box = area.getBoundingClientRect();
    show(nearest(longest, (clientX - box.left) / box.width));
  });
  area.addEventListener('pointerleave', hide);
  frame.addEventListener('blur', hide);
  frame.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = longest.indexOf(current) + (tip.hidden ? 0 : step);
    show(longest[Math.min(longest.length - 1, Math.max(0, next))]);
  });
}

// Over time

/** Round distances between the times below a plot, in seconds. */
const TIME_STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 10_800, 43_200, 259_200, 864_000];

/** Counts in the log, each with its member, title and note, and whether it is divided by the length of the interval. */
const COUNTS = [
  ['sessions', 'Sessions', 'completed per second', true],
  ['messages', 'Messages', 'arrived per second', true],
  ['open', 'Open connections', 'at the end of each interval', false],
  ['errors', 'Failures', 'per second', true],
];

function overTime() {
  const end = Math.max(1, ...runs.map((run) => run.intervals.at(-1)?.t_s ?? 0));
  const step = TIME_STEPS.find((one) => end / one <= 6) ?? end;
  const x = { place: (at) => inside(at / end), say: (at) => (at === 0 ? '0' : seconds(at)),
    ticks: multiples(step, end).map((at) => [at, moment(at, step * 6)]) };
  const shades = partial(end);
  const noted = (note) => (shades.length > 0 ? `${note}; shaded: sessions start or end` : note);
  const counted = COUNTS.filter(([name]) => runs.some((run) => run.intervals.some((interval) => interval[name] > 0)));
  const plots = counted.map(([name, title, note, isRate]) => {
    const lines = runs.map(({ name: run, intervals }, place) => {
      const span = (number) => intervals[number].t_s - (intervals[number - 1]?.t_s ?? 0);
      const counts = intervals.map((interval, number) => [interval.t_s, isRate ? rate(interval[name], span(number)) : interval[name]]);
      return { name: run, look: `c${place}`, filled: !several, points: counts };
    });
    return plot(title, noted(note), lines, x, { ...even(values(lines)), say: figure }, shades);
  });
  const latencies = runs.flatMap((run, place) => [['p99', ''], ['p50', ' dashed']].map(([name, look]) => ({
    name: several ? `${run.name} ${name}` : name,
    look: `c${place}${look}`,
    points: run.intervals.map((interval) => [interval.t_s, interval[`${name}_us`]]),
  }))).filter((line) => known(line).length > 0);
  const headline = runs.find((run) => run.headline)?.headline ?? 'message';
  const note = noted(`${headline}: p50 and p99 of each interval; logarithmic`);
  plots.push(plot('Latency', note, latencies, x, { ...decades(values(latencies)), say: micros }, shades));
  return plots.some(Boolean) ? section('Over time', h('div', { class: 'plots' }, plots)) : null;
}

const rate = (count, span) => (count === null ? null : count / span);

/**
 * Returns the periods in which a run is not at its full load: until its first sessions can have ended, after its last
 * session has started, and an interval that was cut short. They are shaded, so that they are not mistaken for an outage.
 */
function partial(end) {
  const from = Math.max(...runs.map(fullFrom));
  const to = Math.min(end, ...runs.map(fullTo));
  return [[0, Math.min(from, end)], [Math.max(to, 0), end]].filter(([one, other]) => other - one > 0.2);
}

/** Returns when the first sessions can have ended, which trickle their candidates and then hold. */
function fullFrom({ mode, arguments: { hold = 0, candidates = 0, trickle = 0 } }) {
  const first = hold + (candidates * trickle) / 1e3;
  return mode === 'sessions' && first > 0.2 ? Math.ceil(first) : 0;
}

/** Returns when the schedule ends or, if there is none, when the last whole interval ends. */
function fullTo({ mode, intervals, arguments: { arrival, duration, sessions, rate } }) {
  const [before, last] = [intervals.at(-2)?.t_s ?? 0, intervals.at(-1)?.t_s ?? Infinity];
  const whole = last - before < 0.9 ? before : last;
  const share = { ramp: 0.5, step: 0.6 }[arrival] ?? 1;
  const scheduled = duration ?? (sessions && rate ? sessions / (rate * share) : Infinity);
  return mode === 'sessions' ? Math.min(whole, scheduled) : whole;
}

// Percentiles. For one run, all latencies are on one plot; for several runs, there is a plot for each latency.

function percentiles() {
  const labels = [...new Set(runs.flatMap((run) => run.spans.map((span) => span.label)))];
  const of = (run, label) => run.spans.find((span) => span.label === label)?.curve ?? [];
  const line = (name, place, run, label) => ({ name, look: `c${place}`, points: of(run, label) });
  const curves = several
    ? labels.map((label) => [`Percentiles: ${label}`, 'run by run', runs.map((run, place) => line(run.name, place, run, label))])
    : [['Percentiles', 'kind by kind', labels.map((label, place) => line(label, place, runs[0], label))]];
  const plots = curves.map(([title, note, all]) => {
    const lines = all.filter((line) => known(line).length > 0);
    const end = Math.max(1, ...lines.map((line) => line.points.at(-1)[0]));
    const ticks = [Math.log10(2), 1, 2, 3, 4, 5, 6].filter((nines) => nines <= end + 1e-3);
    const x = { place: (nines) => inside(nines / end), say: percent, ticks: ticks.map((nines) => [nines, percent(nines)]) };
    return plot(title, `how many were as fast, ${note}`, lines, x, { ...decades(values(lines)), say: micros });
  });
  if (!plots.some(Boolean)) return null;
  return section('Latency by percentile', h('div', { class: several ? 'plots' : 'plots one' }, plots));
}

// Tables

/** Creates a cell from a text, or from parts and a look. */
const cell = (content, column) => {
  const { parts, look } = typeof content === 'object' ? content : { parts: [content], look: null };
  return h('td', { class: look, 'data-column': column }, parts);
};

/**
 * Creates a table. Each line is `{ group }` or `{ head, cells, look }`. If `stack` is set, a phone shows each line as a
 * block of named cells.
 */
function table(caption, heads, lines, stack = several) {
  const body = lines.map(({ group, head, cells, look }) => {
    if (group !== undefined) return h('tr', { class: 'group' }, h('th', { scope: 'rowgroup', colspan: runs.length + 1 }, group));
    const column = (place) => (stack ? heads?.[place + 1]?.name ?? null : null);
    return h('tr', { class: look }, h('th', { scope: 'row' }, head), cells.map((content, place) => cell(content, column(place))));
  });
  const top = heads?.map(({ name, parts = [name], look }) => (name === '' ? h('td') : h('th', { scope: 'col', class: look }, parts)));
  return h('table', { class: stack ? 'stack' : null }, h('caption', {}, caption),
    top ? h('thead', {}, h('tr', {}, top)) : null, h('tbody', {}, body));
}

/** Creates a table with a column for each run. If there are several runs, the columns are named. */
function byRun(caption, lines) {
  const named = runs.map((run, place) => ({ name: run.name, parts: [key(`c${place}`), run.name] }));
  return table(caption, several ? [{ name: '' }, ...named] : null, lines);
}

const card = (...children) => h('div', { class: 'card scroll' }, ...children);
const details = (title, content) => h('details', { class: 'card scroll' }, h('summary', {}, title), content);
const quiet = (...children) => h('p', { class: 'none' }, ...children);

/** Shows how a figure differs from that of the first run, and whether the difference is an improvement. */
function change(sense, base, value) {
  const grown = 100 * (value / base - 1);
  if (!(base > 0) || value === null || !(Math.abs(grown) >= 0.5)) return h('small', { class: 'change' });
  const look = { high: grown > 0, low: grown < 0 }[sense];
  const text = grown > 900 ? `×${figure(grown / 100 + 1)}` : `${grown > 0 ? '+' : ''}${grown.toFixed(0)} %`;
  return h('small', { class: look === undefined ? 'change' : look ? 'change better' : 'change worse' }, text);
}

/** Creates a table of the figures of all runs, side by side and by group. */
function comparison(caption, shown) {
  const lines = shown.flatMap(({ group, label, sense, values: figures, texts }, place) => {
    const cells = texts.map((text, run) => ({ parts: [text, run > 0 ? change(sense, figures[0], figures[run]) : null],
      look: sense === 'zero' && figures[run] > 0 ? 'bad' : null }));
    const line = { head: label, cells };
    return group === shown[place - 1]?.group ? [line] : [{ group }, line];
  });
  return byRun(caption, lines);
}

function namesAndValues(caption, all) {
  const names = [...new Set(all.flatMap(Object.keys))].toSorted();
  const plain = (name, value) => {
    if (Array.isArray(value)) return value.map((one) => plain(name, one)).join(', ');
    if (typeof value === 'number' && name.endsWith('_bytes')) return bytes(value);
    return typeof value === 'object' ? JSON.stringify(value) : { true: 'yes', false: 'no' }[value] ?? String(value);
  };
  const lines = names.filter((name) => all.some((one) => (one[name] ?? null) !== null)).map((name) => {
    const texts = all.map((one) => ((one[name] ?? null) === null ? UNKNOWN : plain(name, one[name])));
    const head = name.replace(/_bytes$/, '').replaceAll('_', ' ');
    const look = texts.some((text) => text !== texts[0]) ? 'differs' : null;
    return { head, look, cells: texts.map((text) => ({ parts: [text], look: 'text' })) };
  });
  return byRun(caption, lines);
}

// The parts of the report

const row = (group, label) => rows.find((one) => one.group === group && one.label === label);
const text = (group, label) => row(group, label)?.texts[0] ?? UNKNOWN;
const value = (group, label) => row(group, label)?.values[0] ?? null;

/** Returns the facts about a run for one line: the requested load, the service and the machine. */
function facts() {
  if (several) return [];
  const [{ arguments: { scenario }, versions: { service }, machine: { load_average: load } }] = runs;
  return [
    scenario ? `scenario ${String(scenario).split('/').at(-1).replace(/\.[^.]+$/, '')}` : null,
    offered(runs[0]),
    service ? `service ${service}` : null,
    typeof load === 'number' ? `load of the machine before: ${figure(load)}` : null,
  ].filter(Boolean);
}

/** Describes the load that was requested. */
function offered({ mode, arguments: { arrival, channels, duration, rate, sessions, viewers_per_channel: viewers, window } }) {
  if (mode === 'storm' && channels && viewers) return `offered: ${figure(channels * viewers)} viewers at once`;
  if (mode === 'relay' && window) return `closed loop, window ${figure(window)}`;
  if (mode !== 'sessions') return null;
  if (rate) return `offered: ${figure(rate)} sessions per second, ${arrival ?? 'steady'}`;
  return sessions && duration ? `offered: ${figure(sessions)} sessions over ${seconds(duration)}, ${arrival ?? 'steady'}` : null;
}

/** Returns the most important figures, each as a card with a title, the figure, and a note. */
function cards() {
  const [run] = runs;
  const all = [];
  const [completed, scheduled] = ['completed', 'scheduled'].map((what) => text('Load', `sessions ${what}`));
  if (run.mode === 'storm') all.push(['Sessions', completed, `completed of ${scheduled}`]);
  else if (row('Load', 'sessions/s')) {
    all.push(['Sessions per second', text('Load', 'sessions/s'), `${completed} completed of ${scheduled}`]);
  }
  if (value('Messages', 'messages/s') > 0) {
    all.push(['Messages per second', text('Messages', 'messages/s'), `${text('Messages', 'received')} arrived in all`]);
  }
  if (row('Load', 'connections/s') && !row('Load', 'sessions completed')) {
    all.push(['Connections per second', text('Load', 'connections/s'), `${count(run.cycles)} opened and closed`]);
  }
  if (run.headline) {
    const [p50, p99, max] = ['p50', 'p99', 'max'].map((name) => text('Latency', `${run.headline} ${name}`));
    all.push(['Latency p99', p99, `${run.headline}; p50 ${p50}, max ${max}`]);
  }
  if (value('Messages', 'sent') > 0) {
    all.push(['Messages gone wrong', count(run.faults), 'lost, duplicated, reordered, corrupted or misrouted']);
  }
  if (row('Load', 'most at once')) {
    all.push(['Connections', text('Load', 'most at once'), `at once; ${text('Load', 'connections failed')} failed`]);
  }
  return h('section', { class: 'cards', 'aria-label': 'Key figures' }, [...all, ...costCards(run)].map(([title, shown, note]) =>
    h('div', { class: 'card figure' }, h('h3', {}, title), h('p', { class: 'value' }, shown), h('p', {}, note))));
}

function costCards(run) {
  const all = [];
  const cpu = value('Cost', 'service CPU');
  if (cpu !== null) {
    const each = ['message', 'connection'].find((what) => row('Cost', `service CPU per ${what}`) !== undefined);
    const rate = value('Messages', 'messages/s');
    const idle = rate !== null && rate < 1000 ? '; at this rate mostly what the service costs at rest' : '';
    all.push(each === undefined ? ['Service CPU', text('Cost', 'service CPU'), cores(cpu, run)]
      : [`Service CPU per ${each}`, text('Cost', `service CPU per ${each}`), `${text('Cost', 'service CPU')} of CPU time in all${idle}`]);
  }
  if (row('Cost', 'service memory')) {
    const grown = row('Cost', 'service memory per connection');
    all.push(['Service memory', text('Cost', 'service memory'), grown ? `grew by ${grown.texts[0]} per connection` : 'resident at the end']);
  }
  if (run.open_loop && row('Cost', 'driver CPU')) {
    all.push(['Driver', cores(value('Cost', 'driver CPU'), run), `behind its schedule by ${text('Cost', 'schedule lag p99')} (p99)`]);
  }
  return all;
}

/** Compares the most important figures. Failures by kind have a section of their own. */
function sideBySide() {
  const isKey = ({ group, label }) => group !== 'Errors' && (group !== 'Latency' || / p(50|99)$/.test(label));
  return section('Side by side', card(comparison('What a reader asks first; differences are to the first run', rows.filter(isKey))));
}

const WAITING = 'waiting in the driver';

/**
 * Returns the parts of the mean latency of an answer, in microseconds. They add up to the mean of the whole; the time that
 * no step accounts for is time in which the driver waited. Without sessions, returns the mean of each step.
 */
function parts({ spans, lag }) {
  const timed = spans.filter(({ sum_us }) => sum_us !== null);
  const setup = timed.find(({ label }) => label === whole);
  const all = steps.flatMap((label, place) => {
    const span = timed.find((one) => one.label === label);
    return span === undefined ? [] : [{ place, label, us: span.sum_us / (setup ?? span).count }];
  });
  if (setup === undefined) return all;
  // The first step of a session is measured from when the session was due.
  if (all[0]?.place === 0) all[0].us = Math.max(0, all[0].us - (lag?.sum_us ?? 0) / setup.count);
  const explained = all.reduce((sum, part) => sum + part.us, 0);
  return [...all, { place: steps.length, label: WAITING, us: Math.max(0, setup.sum_us / setup.count - explained) }];
}

const MEANS = 'The bar is the mean, of which the parts add up to the mean of a whole session. The driver waits when it is '
  + 'behind its schedule, before it tries again, and for API calls.';

function whereTheTimeGoes() {
  if (runs.every((run) => run.spans.length === 0)) return null;
  const all = runs.map(parts);
  const legend = [...steps, WAITING].map((label, place) => (all.flat().some((part) => part.place === place)
    ? h('li', {}, key(`block c${place}`), label) : null));
  const means = all.flat().length === 0 ? null
    : [h('ul', { class: 'legend' }, legend), h('div', { class: 'splits' }, all.map(bar)), quiet(runs.map(tlsShare), MEANS)];
  return section('Where the time goes', h('div', { class: 'card' }, means, h('div', { class: 'scroll' }, quantiles())));
}

/** Draws the parts of a run's mean in proportion. A part shows its figure if there is room for it. */
function bar(all, place) {
  const sum = all.reduce((us, part) => us + part.us, 0);
  if (!(sum > 0)) return null;
  const shown = all.map(({ place: colour, label, us }) =>
    h('i', { class: `c${colour}`, title: `${label}: ${micros(us)}`, style: { width: `${(100 * us) / sum}%` } },
      us > 0.16 * sum ? micros(us) : null));
  const words = all.map(({ label, us }) => `${label} ${micros(us)}; `).join('');
  return h('div', { class: 'split' }, h('span', {}, `${several ? `${runs[place].name}:` : 'mean'} ${micros(sum)}`),
    h('div', { class: 'bar', role: 'img', 'aria-label': words }, shown));
}

/** Reports how many connections used TLS, unless all did. The part for TLS is averaged over all connections. */
function tlsShare({ name, spans }) {
  const [tls, all] = ['TLS handshake', 'upgrade'].map((label) => spans.find((span) => span.label === label)?.count);
  return tls < all ? `${several ? `${name}: ` : ''}TLS was spoken by ${count(tls)} of ${count(all)} connections. ` : null;
}

function quantiles() {
  const heads = ['step', ...(several ? ['run'] : []), 'count', 'p50', 'p90', 'p99', 'p99.9', 'max'];
  const line = (label, span, { name }, place) => (span ? [{ head: label, cells: [
    ...(several ? [{ parts: [key(`c${place}`), name], look: 'text' }] : []), count(span.count),
    ...span.quantiles.map((us) => (us === null ? UNKNOWN : micros(us)))] }] : []);
  const labels = [...new Set(runs.flatMap((run) => run.spans.map((span) => span.label)))];
  const of = (run, label) => run.spans.find((span) => span.label === label);
  const lines = labels.flatMap((label) => runs.flatMap((run, place) => line(label, of(run, label), run, place)));
  const late = runs.flatMap((run, place) => line('behind schedule', run.lag, run, place));
  return table('Quantiles of each step', heads.map((name) => ({ name, look: name === 'run' ? 'text' : null })), [...lines, ...late], true);
}

function failed() {
  const lines = failures.map(({ kind, advice, id }) => {
    const why = id ? h('small', {}, 'the first of them: ', h('code', {}, `heliograph why ${id}`)) : null;
    const cells = runs.map(({ errors }) => ({ parts: [count(errors[kind] ?? 0)], look: errors[kind] > 0 ? 'bad' : null }));
    return { head: [h('code', {}, kind), h('small', {}, advice), why], cells };
  });
  return section('Failures', card(lines.length > 0 ? byRun('Failures by kind', lines) : quiet('None.')));
}

/** Shows the CPU time and memory of both sides. For several runs, the comparison contains these figures. */
function costs() {
  if (several) return null;
  const sides = ['service', 'driver'];
  const line = (head, label) => ({ head, cells: sides.map((side) => text('Cost', `${side} ${label}`)) });
  const used = sides.map((side) => value('Cost', `${side} CPU`)).map((cpu) => (cpu === null ? UNKNOWN : cores(cpu, runs[0])));
  const same = ['CPU per message', 'CPU per connection', 'memory', 'memory per connection'].map((label) => line(label, label));
  const lines = [line('CPU time', 'CPU'), { head: 'in use', cells: used }, ...same];
  const shown = lines.filter(({ cells }) => cells.some((one) => one !== UNKNOWN));
  const lag = row('Cost', 'schedule lag p99');
  return section('CPU and memory', card(
    table('Both sides in the measured span', [{ name: '' }, ...sides.map((name) => ({ name }))], shown),
    row('Cost', 'service CPU') ? null
      : quiet('The service\'s side is not known: name its process with ', h('code', {}, '--server-pid'), '.'),
    lag ? quiet(`Starts were behind their schedule by at most ${lag.texts[0]} in 99 of 100 cases, and by ${
      text('Cost', 'schedule lag max')} at worst.`) : null));
}

function machines() {
  const all = runs.map(({ machine, versions }) => {
    const programs = Object.entries(versions).map(([name, version]) => [`${name} version`, version]);
    return { ...machine, ...Object.fromEntries(programs) };
  });
  return section('Machine and versions', card(namesAndValues('The machine that drove the load, and the programs', all)));
}

function given() {
  const flags = namesAndValues('As given or by default; what differs is marked', runs.map((run) => run.arguments));
  return section('Details', details('Arguments', flags), details('Every figure', comparison('As far as they are known', rows)));
}

/** Sets up the button for light and dark. A page that was opened from a file may be unable to store the choice. */
function themes() {
  const root = document.documentElement;
  const button = document.getElementById('theme');
  const stored = (theme) => {
    try {
      if (theme) localStorage.setItem('loadgen-theme', theme);
      return localStorage.getItem('loadgen-theme');
    } catch {
      return null;
    }
  };
  if (['dark', 'light'].includes(stored())) root.dataset.theme = stored();
  button.hidden = false;
  button.addEventListener('click', () => {
    const current = root.dataset.theme ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
    root.dataset.theme = current === 'dark' ? 'light' : 'dark';
    stored(root.dataset.theme);
  });
}

themes();
document.getElementById('facts').append(visible(facts().join(' · ')));
const first = several ? sideBySide() : cards();
const all = [first, overTime(), percentiles(), whereTheTimeGoes(), failed(), costs(), machines(), given()];
document.getElementById('report').replaceChildren(...all.filter(Boolean));
