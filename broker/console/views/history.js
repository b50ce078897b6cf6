// The past: figures, causes and marks of a span between a quarter of an hour and a month. All charts share one axis and
// one crosshair.

import { get, isMissing } from '../api.js';
import { h, keyed, put, table } from '../dom.js';
import { count, micros, number, stamp, wholeMillis, zone } from '../format.js';
import { placeOf, rowAt, series } from '../series.js';
import { problemList } from './now.js';

const SPANS = [['-15m', '15 min'], ['-1h', '1 h'], ['-6h', '6 h'], ['-24h', '24 h'], ['-7d', '7 d'], ['-30d', '30 d']];
const UNITS = { m: 60_000, h: 3_600_000, d: 86_400_000 };
/** Interval between requests if the span ends at the current time. */
const EVERY_MS = 10_000;
/** The shortest span that a brush can select. */
const LEAST_MS = 60_000;
/** Maximum number of rows in the table, of causes above the charts, and of refusals at a time. */
const [ROWS, CAUSES, REFUSALS] = [120, 12, 20];
const named = (pairs) => pairs.map(([name, column]) => ({ name, column }));

const level = (value) => value;
/** Converts the count of a row to a rate over a number of seconds. */
const rate = (seconds) => (value, step) => (value * seconds) / step;

const CHARTS = () => [
  series('Connections', 'open', named([['cameras', 'masters'], ['viewers', 'viewers']]), number, level),
  series('Refused', 'a minute', named([['signature', 'refused_signature'], ['policy', 'refused_policy'], ['rate', 'refused_rate'], ['other', 'refused_other']]), number, rate(60)),
  series('Sessions', 'a minute', named([['offers', 'offers'], ['answers', 'answers'], ['unanswered', 'unanswered']]), number, rate(60)),
  series('Session set-up', 'from connect to answer', named([['p50', 'setupP50Ms'], ['p99', 'setupP99Ms']]), wholeMillis, level),
  series('Messages', 'a second', named([['messages', 'messages']]), number, rate(1)),
  series('Delivery', 'from receipt to socket', named([['p50', 'deliveryP50Us'], ['p99', 'deliveryP99Us']]), micros, level),
  series('Busy', '% of shards', named([['busiest', 'busyMax'], ['mean', 'busyMean']]), number, (value) => Math.round(value * 100)),
  series('Memory', 'MiB of the process', named([['memory', 'memoryBytes']]), number, (value) => value / 2 ** 20),
];

export function history(root, { parameters, node }) {
  const charts = CHARTS();
  const buttons = SPANS.map(([value, text]) => h('button', { type: 'button', class: 'small', 'data-span': value, click: () => go(value, 'now') }, text));
  const out = h('button', { type: 'button', class: 'small', click: () => zoom(2) }, 'Zoom out');
  const which = /** @type {HTMLSelectElement} */ (h('select', { 'aria-label': 'Nodes', hidden: true, change: () => { of = which.value; place('replaceState'); show(); } }));
  const said = h('p', { class: 'quiet', role: 'status' }, 'Loading …');
  const cursor = h('div', { class: 'cursor', role: 'slider', tabindex: '0', 'aria-label': 'Moment: arrows move it, Enter lists what was wrong, plus and minus zoom', keydown: pressed }, h('span'));
  const lanes = h('ul', { class: 'spans', role: 'list', 'aria-label': 'Problems over time' });
  const marks = h('ul', { class: 'marks', role: 'list', 'aria-label': 'Marks' });
  const problems = problemList(node);
  const [title, values, refused, none] = [h('h2'), h('p'), h('ul', { class: 'rows' }), h('p', { class: 'quiet' })];
  const moment = h('section', { class: 'card', hidden: true, 'aria-live': 'polite' }, title, values, problems.whole, refused, none);
  const numbers = table(['Time'], 'Figures of the time that is shown');
  const detail = h('details', { class: 'card', toggle: () => fill() }, h('summary', {}, 'Table'), numbers.whole);
  const above = h('div', { class: 'card', hidden: true }, lanes, marks);
  const plots = h('div', { class: 'stack', hidden: true }, ...charts.map((one) => one.whole), detail);
  root.append(h('h1', {}, 'History'), h('div', { class: 'card sticky' }, h('div', { class: 'row' }, ...buttons, out, which, said), cursor), above, moment, plots);

  let [from, to, of] = [parameters.get('from') ?? '-1h', parameters.get('to') ?? 'now', parameters.get('node') ?? ''];
  /** The chosen time, and the time under the pointer. @type {number | null} */
  let chosen = Date.parse(parameters.get('at') ?? '') || null;
  /** @type {number | null} */
  let under = null;
  /** The history as received from the broker, and the part of the chosen nodes. @type {any} */
  let [whole, data] = [null, null];
  let span = { from: 0, to: 1 };
  let end = 0;
  let timer = 0;
  let asked = 0;
  let ended = false;

  function place(way) {
    const at = chosen === null ? {} : { at: new Date(chosen).toISOString() };
    globalThis.history[way](null, '', `#/history?${new URLSearchParams({ from, to, ...(of === '' ? {} : { node: of }), ...at })}`);
  }

  function go(nextFrom, nextTo) {
    [from, to] = [nextFrom, nextTo];
    place('pushState');
    load();
  }

  /** Changes the span by a factor. The centre is the chosen time or, if there is none, the middle. */
  function zoom(times) {
    const middle = chosen ?? (span.from + span.to) / 2;
    const half = Math.max(LEAST_MS, (span.to - span.from) * times) / 2;
    const end = Math.min(Date.now(), middle + half);
    go(new Date(end - 2 * half).toISOString(), new Date(end).toISOString());
  }

  async function load() {
    clearTimeout(timer);
    const number = ++asked;
    end = to === 'now' ? Date.now() : momentOf(to, Date.now());
    const query = new URLSearchParams({ from: new Date(momentOf(from, end)).toISOString(), to: new Date(end).toISOString() });
    const answer = await get(`/history?${query}`);
    const { status, data: next } = answer;
    if (ended || number !== asked) return;
    if (to === 'now') timer = setTimeout(load, EVERY_MS);
    if (status !== 200) { put(said, isMissing(answer) ? 'Not available: this broker keeps no history.' : next.error ?? `status ${status}`); return; }
    whole = next;
    const nodes = Object.keys(whole.nodes ?? {});
    which.hidden = nodes.length === 0;
    const names = [['', 'all nodes'], ...[own(), ...nodes].map((name) => [name, name])];
    keyed(which, names, ([name]) => name, ([name, text]) => h('option', { value: name }, text), (option, [name]) => option.toggleAttribute('selected', name === of));
    show();
  }

  const own = () => node()?.name ?? 'this node';

  /** Shows what is known about the chosen nodes. */
  function show() {
    data = ofNodes(whole, own(), of);
    const [first, begins] = [momentOf(from, end), Date.parse(data.begins)];
    span = { from: Math.min(Math.max(first, begins || first), end - 1), to: end };
    draw(begins > first);
  }

  function draw(isCut) {
    plots.hidden = false;
    above.hidden = data.problems.length + data.marks.length === 0;
    buttons.forEach((button) => button.setAttribute('aria-pressed', String(to === 'now' && button.getAttribute('data-span') === from)));
    put(said, `${stamp(span.from)} to ${stamp(span.to)} ${zone(span.to)}, a row ${data.step === 1 ? 'a second' : `every ${data.step >= 60 ? `${data.step / 60} min` : `${data.step} s`}`}.${isCut ? ' History begins here.' : ''}`
      + (data.missingNodes?.length > 0 ? ` Without an answer: ${data.missingNodes.join(', ')}.` : ''));
    charts.forEach((one) => one.draw(data, span));
    const within = data.problems.filter((one) => Date.parse(one.first) <= span.to && endOf(one) >= span.from);
    const own = within.toSorted((a, b) => b.channels - a.channels);
    keyed(lanes, own.slice(0, CAUSES), ({ id, first }) => `${id} ${first}`, (one) => h('li', {}, h('button', { type: 'button', click: () => choose(Math.max(span.from, Date.parse(one.first))) })), lane);
    keyed(marks, data.marks.filter(({ at }) => at >= span.from && at <= span.to), (mark) => `${mark.at} ${mark.kind} ${mark.says}`,
      (mark) => h('li', {}, h('button', { type: 'button', class: `small at-${mark.kind}`, click: () => choose(mark.at) })),
      (item, mark) => put(item.firstElementChild, `${stamp(mark.at)} ${mark.says}`));
    point();
    if (chosen !== null) tell();
    fill();
  }

  /** Shows a cause as a bar from its beginning to its end. */
  function lane(item, one) {
    const [left, right] = [Date.parse(one.first), endOf(one)].map((at) => Math.min(1, Math.max(0, placeOf(at, span))));
    item.className = `${one.ended === null ? one.look : 'none'}${left > 0.6 ? ' late' : ''}`;
    item.style.setProperty('--left', `${100 * left}%`);
    item.style.setProperty('--width', `${100 * (right - left)}%`);
    put(item.firstElementChild, `${one.title}: ${stamp(Date.parse(one.first))}${one.ended === null ? ', goes on' : ` to ${stamp(Date.parse(one.ended))}`}`);
  }

  function point() {
    const at = under ?? chosen;
    charts.forEach((one) => one.point(at, span));
    const shown = at ?? span.to;
    cursor.firstElementChild.style.left = `${100 * Math.min(1, Math.max(0, placeOf(shown, span)))}%`;
    cursor.setAttribute('aria-valuemin', String(Math.round(span.from)));
    cursor.setAttribute('aria-valuemax', String(Math.round(span.to)));
    cursor.setAttribute('aria-valuenow', String(Math.round(shown)));
    cursor.setAttribute('aria-valuetext', `${stamp(shown)} ${zone(shown)}: ${wordsAt(charts.slice(0, 3), shown)}`);
  }

  /** Lists what was wrong at a given time. */
  function choose(at) {
    [chosen, under] = [at, null];
    place('replaceState');
    point();
    tell();
  }

  async function tell() {
    const at = chosen ?? 0;
    const width = data.step * 1000;
    moment.hidden = false;
    put(title, `At ${stamp(at)} ${zone(at)}`);
    put(values, wordsAt(charts, at));
    const wrong = data.problems.filter((one) => Date.parse(one.first) < at + width && endOf(one) >= at);
    problems.update(wrong.map((one) => ({ members: [], known: null, ...one })));
    const since = new Date(at - width).toISOString();
    const { status, data: found } = await get(`/refusals?${new URLSearchParams({ since, limit: '1000' })}`);
    if (ended || at !== chosen || status !== 200) return;
    const own = found.refusals.filter((one) => Date.parse(one.at) <= at + width && isOf(of, one));
    keyed(refused, own.slice(0, REFUSALS), (one) => one.requestId, (one) => h('li', {}, h('span', { class: 'quiet' }, stamp(Date.parse(one.at), true)),
      h('span', {}, `${one.check}: ${one.channel ?? one.keyId ?? one.remote ?? ''}`), h('a', { href: `#/why/${encodeURIComponent(one.requestId)}` }, 'Details')), () => {});
    put(none, wrong.length + own.length === 0 ? 'No problem and no kept refusal of this moment.'
      : own.length > REFUSALS ? `${number(REFUSALS)} of ${count(own.length, 'kept refusal')}.` : '');
  }

  /** Fills the table if it is open, with every row or with one row of each group. */
  function fill() {
    if (!detail.hasAttribute('open') || data === null) return;
    const names = Object.keys(data.columns).filter((name) => name !== 't');
    const every = Math.ceil(data.columns.t.length / ROWS);
    numbers.whole.querySelector('thead tr').replaceChildren(...[`Time (${zone()})`, ...names].map((name) => h('th', { scope: 'col' }, name)));
    numbers.body.replaceChildren(...data.columns.t.flatMap((at, row) => (row % every === 0
      ? [h('tr', {}, h('th', { scope: 'row' }, stamp(at)), ...names.map((name) => h('td', { class: 'number' }, number(data.columns[name][row]))))] : [])));
  }

  function pressed(event) {
    const times = data?.columns.t ?? [];
    if (times.length === 0) return;
    const row = chosen === null && under === null ? times.length - 1 : rowAt(times, under ?? chosen);
    const to = { ArrowLeft: row - 1, ArrowRight: row + 1, PageUp: row - 10, PageDown: row + 10, Home: 0, End: times.length - 1 }[event.key];
    if (to !== undefined) { under = times[Math.min(times.length - 1, Math.max(0, to))]; point(); } else if (event.key === 'Enter') choose(times[row]);
    else if (event.key === '+' || event.key === '-') { chosen = times[row]; zoom(event.key === '+' ? 0.5 : 2); } else if (event.key === 'Escape') {
      [chosen, under, moment.hidden] = [null, null, true];
      place('replaceState');
      point();
    } else return;
    event.preventDefault();
  }

  for (const { picture } of charts) {
    let began = null;
    const at = (event) => {
      const box = picture.getBoundingClientRect();
      return span.from + (span.to - span.from) * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    };
    const brush = (range) => charts.forEach((one) => one.brush(range, span));
    picture.addEventListener('pointerdown', (event) => { began = at(event); picture.setPointerCapture(event.pointerId); });
    picture.addEventListener('pointermove', (event) => {
      if (data === null) return;
      under = at(event);
      point();
      if (began !== null) brush([began, under]);
    });
    picture.addEventListener('pointerup', (event) => {
      const [first, last] = [began ?? 0, at(event)].toSorted((a, b) => a - b);
      began = null;
      brush(null);
      if (data === null) return;
      if (last - first < (span.to - span.from) / 100) choose(last);
      else go(...[first, Math.max(last, first + LEAST_MS)].map((moment) => new Date(moment).toISOString()));
    });
    picture.addEventListener('pointercancel', () => { began = null; brush(null); });
    picture.addEventListener('pointerleave', () => { if (began === null && data !== null) { under = null; point(); } });
  }

  load();
  return { end() { ended = true; clearTimeout(timer); problems.end(); } };
}

/** Parses a time, which is RFC 3339 or relative to `end`, such as `-24h`. Pure. */
export function momentOf(text, end) {
  const [, number, unit] = /^-(\d+)([mhd])$/.exec(text) ?? [];
  return number === undefined ? Date.parse(text) || end - UNITS.h : end - Number(number) * UNITS[unit];
}

/** Describes what was measured at a given time. */
const wordsAt = (charts, at) => charts.map((one) => one.words(at)).filter((words) => words !== '').join('; ');

/** Returns when a cause ended. An open cause has no end. */
const endOf = (one) => (one.ended === null ? Infinity : Date.parse(one.ended));

/** Returns whether something belongs to the chosen node. If none is chosen, everything does. */
const isOf = (chosen, one) => chosen === '' || one.node === undefined || one.node === chosen;

/**
 * Columns of counts and of levels, which are added up over all nodes. Of any other column, the greatest value is taken.
 */
const [COUNTS, LEVELS] = [/^(connects|refused_|offers|answers|unanswered|confirmed|returned|hooks|messages)/, /^(masters|viewers|channels|pending|memoryBytes)$/];

/** Merges the history of all nodes, or of the chosen one, so that it looks like that of a single node. Pure. */
export function ofNodes({ nodes, step, begins, columns, problems, marks, ...rest }, own, chosen) {
  const parts = Object.entries({ [own]: { step, begins, columns }, ...nodes }).filter(([name]) => nodes === undefined || isOf(chosen, { node: name }))
    .map(([, part]) => part).filter((part) => part.columns.t.length > 0);
  const lists = { ...rest, problems: problems.filter((one) => isOf(chosen, one)), marks: marks.filter((one) => isOf(chosen, one)) };
  if (nodes === undefined || parts.length === 0) return { ...lists, step, begins, columns };
  return { ...lists, ...(parts.length === 1 ? parts[0] : together(parts)) };
}

/** Merges the rows of several nodes. There is one row per time, up to the time for which all nodes have rows. */
function together(parts) {
  const step = Math.max(...parts.map((part) => part.step));
  const at = (moment) => Math.floor(moment / (step * 1000)) * step * 1000;
  const last = Math.min(...parts.map(({ columns }) => at(columns.t.at(-1))));
  const t = [...new Set(parts.flatMap(({ columns }) => columns.t.map(at)))].filter((moment) => moment <= last).toSorted((a, b) => a - b);
  const column = (name) => {
    const all = new Map();
    for (const part of parts) {
      const own = new Map();
      part.columns.t.forEach((moment, row) => {
        const value = part.columns[name][row];
        if (value !== null) own.set(at(moment), [...own.get(at(moment)) ?? [], value]);
      });
      for (const [moment, values] of own) {
        const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
        const before = all.get(moment);
        all.set(moment, COUNTS.test(name) ? (before ?? 0) + (mean * step) / part.step : LEVELS.test(name) ? (before ?? 0) + mean : Math.max(before ?? 0, ...values));
      }
    }
    return t.map((moment) => all.get(moment) ?? null);
  };
  const names = Object.keys(parts[0].columns).filter((name) => name !== 't');
  const begins = parts.map((part) => part.begins).toSorted()[0];
  return { step, begins, columns: { t, ...Object.fromEntries(names.map((name) => [name, column(name)])) } };
}
