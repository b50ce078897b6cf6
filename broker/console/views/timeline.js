// What happened in the sessions of a channel: a lane for each viewer, its events as marks over time, and hints in words.

import { h, keyed, put, svg } from '../dom.js';
import { bytes, clock, count, number, roundTimes, ticks } from '../format.js';
import { keyOf, runInWords, runsOf, strip } from './sessions.js';

/** Of the marks, and of the scale below them. */
const [HEIGHT, SCALE] = [34, 18];
/** Left and right of the line, so that no mark is cut. */
const MARGIN = 10;
/** Marks are apart by so much where there is room. */
const GAP = 9;
/** Of the label of a tick, and of a clock time at an end, with and without milliseconds. */
const [LABEL, CLOCK, FINE_CLOCK] = [64, 62, 88];
/** From here on milliseconds of the clock times say nothing. */
const COARSE_MS = 10_000;

const MARKS = { SDP_OFFER: 'offer', SDP_ANSWER: 'answer', ICE_CANDIDATE: 'candidate' };

/** Masters shown before somebody asks for all. */
const MASTERS = 5;
/** Messages one after the other that are listed one by one, though they are alike. */
const UNFOLDED = 8;
/** Routes in words, where they are others. */
const ROUTES = { to: 'delivered', kept: 'queued', restart: 'not answered', for_call: 'dropped' };
/** Routes of messages that were not accepted. */
const REFUSED = ['refused', 'throttled', 'overflow'];

export function timeline() {
  const lanes = h('div', { class: 'lanes' });
  const note = h('p', { class: 'quiet' }, 'Loading …');
  const key = h('p', { class: 'legend' }, ...[['join', 'joined or left'], ['offer', 'offer'], ['answer', 'answer'],
    ['candidate', 'candidate'], ['kept', 'queued'], ['dropped', 'dropped or refused']].map(([kind, text]) =>
    h('span', {}, h('i', { class: `key mark-${kind}` }), text)));
  const masters = h('ul', { class: 'masters', 'aria-label': 'Cameras, the newest first' });
  const older = h('button', { type: 'button', class: 'small', hidden: true, click: () => { every = true; drawMasters(); } });
  const all = strip(show);
  const whole = h('div', {}, masters, older, all.whole, key, lanes, note);
  /** @type {any[]} */
  let known = [];
  let every = false;
  key.hidden = true;

  function drawMasters() {
    keyed(masters, every ? known : known.slice(0, MASTERS), (one) => `${one.connection} ${one.joined}`,
      () => h('li', {}, h('span'), h('ul', { class: 'hints' })), (item, one) => {
        put(item.firstElementChild, master(one));
        drawHints(item.lastElementChild, one.hints);
      });
    older.hidden = every || known.length <= MASTERS;
    put(older, `All ${number(known.length)} cameras`);
  }

  /** Shows the lane of a session, and opens the run that it is in. */
  function show(one) {
    for (const row of lanes.querySelectorAll(':scope > .fold')) if (newest.get(row)?.some((it) => keyOf(it) === keyOf(one))) row.setAttribute('open', '');
    setTimeout(() => [...lanes.querySelectorAll('.lane')].find((lane) => lane.getAttribute('data-key') === keyOf(one))?.scrollIntoView({ block: 'center' }));
  }

  return {
    whole,
    update(trace) {
      const viewers = (trace.viewers ?? []).toSorted((a, b) => began(b) - began(a));
      key.hidden = viewers.length === 0;
      put(note, trace.recording === false ? 'Not available: this broker records no session traces.'
        : viewers.length === 0 ? `No viewer sessions yet. ${since(trace)}`
          : `${since(trace)} Marks of a burst are drawn side by side; the list has exact times.`);
      known = (trace.master ?? []).toReversed();
      drawMasters();
      all.update(trace, viewers);
      keyed(lanes, runsOf(viewers), runKey, makeRun, drawRun);
    },
    absent(text) {
      lanes.replaceChildren();
      all.whole.hidden = true;
      masters.replaceChildren();
      older.hidden = true;
      key.hidden = true;
      put(note, text);
    },
  };
}

/** When a viewer joined; one that never did is older than all. */
function began(one) {
  return one.joined === null || one.joined === undefined ? 0 : Date.parse(one.joined);
}

function since(trace) {
  const reach = trace.reachesBackTo ? `History since ${clock(Date.parse(trace.reachesBackTo))}.` : '';
  return trace.truncated ? `${reach} Only the newest events are shown.` : reach;
}

/** When a master was connected, and why it left. */
function master(one) {
  const from = `Camera ${one.remote} from ${clock(Date.parse(one.joined))}`;
  return one.left === null ? `${from} until now${one.superseded ? ', superseded' : ''}` : `${from} to ${clock(Date.parse(one.left))}: ${one.says ?? one.reason ?? ''}`;
}

/** The last state of a folded run. @type {WeakMap<Element, any[]>} */
const newest = new WeakMap();

/** A run is identified by its oldest session: newer ones join it. */
const runKey = (run) => (run.length === 1 ? keyOf(run[0]) : `run ${keyOf(run.at(-1))}`);

function makeRun(run) {
  if (run.length === 1) return make(run[0]);
  const row = h('details', { class: 'fold', toggle: () => drawRun(row, newest.get(row) ?? []) }, h('summary'), h('div', { class: 'lanes' }));
  return row;
}

/** A session, or several that are alike: their lanes once somebody opens them. */
function drawRun(row, run) {
  if (run.length === 1) { draw(row, run[0]); return; }
  newest.set(row, run);
  put(row.firstElementChild, runInWords(run));
  if (row.hasAttribute('open')) keyed(row.lastElementChild, run, keyOf, make, draw);
}

function make(one) {
  return h('div', { class: 'lane' }, h('div', { class: 'head' }, h('span', { class: 'who' }, one.clientId), h('span', { class: 'quiet' }),
    svg('svg', { 'aria-hidden': 'true' })), h('ul', { class: 'hints' }), h('details', {}, h('summary'), h('ol', { class: 'events' })));
}

function draw(row, one) {
  const [head, hints, details] = row.children;
  const events = [...(one.events ?? [])].sort((a, b) => a.ms - b.ms);
  drawHints(hints, one.hints, one.done);
  const last = Math.max(1, events.at(-1)?.ms ?? 1);
  const picture = head.lastElementChild;
  const width = picture.clientWidth || 600;
  const drawn = `${events.length} ${last} ${one.left} ${width}`;
  if (row.getAttribute('data-drawn') === drawn) return;
  row.setAttribute('data-drawn', drawn);
  put(head.children[1], standing(one));
  picture.toggleAttribute('hidden', one.joined === null);
  const at = places(events.map(({ ms }) => ms), last, width);
  picture.setAttribute('viewBox', `0 0 ${width} ${HEIGHT + SCALE}`);
  picture.replaceChildren(svg('line', { class: 'lane-line', x1: MARGIN, x2: width - MARGIN, y1: HEIGHT / 2, y2: HEIGHT / 2 }),
    ...scale(Date.parse(one.joined), last, width), ...events.map((event, place) => mark(event, at[place])));
  put(details.firstElementChild, count(events.length, 'event'));
  details.lastElementChild.replaceChildren(...runs(events).map((run) => item(run, Date.parse(one.joined))));
}

/** Whether a viewer is connected, in words. */
function standing(one) {
  if (one.connection === null) return 'not connected';
  if (one.left === null || one.left === undefined) return `connected since ${clock(Date.parse(one.joined))}`;
  return `${clock(Date.parse(one.joined))}, left: ${one.says ?? one.reason ?? ''}`;
}

/** What hints at trouble; of a session that is done the last line is none. */
function drawHints(list, hints, done = false) {
  const lines = (hints ?? []).map((text, place) => ({ text, look: done && place === hints.length - 1 ? 'done' : '' }));
  keyed(list, lines, (hint) => hint.text, () => h('li'), (item, hint) => {
    put(item, hint.text);
    item.className = hint.look;
  });
}

/** Events in order; messages of one action with one fate, one after the other, are one run: kept and refused ones, and of others
 * many. Pure. */
export function runs(events) {
  const all = [];
  for (const event of events) {
    const before = all.at(-1)?.[0];
    const same = before?.route && ['route', 'action', 'from', 'reason'].every((key) => before[key] === event[key]);
    if (same) all.at(-1).push(event); else all.push([event]);
  }
  const folds = (run) => run[0].route === 'kept' || REFUSED.includes(run[0].route) || run.length > UNFOLDED;
  return all.flatMap((run) => (folds(run) ? [run] : run.map((event) => [event])));
}

/** One line of the list, or a folded run of several. */
function item(run, joined) {
  const line = (event) => [h('b', {}, Number.isNaN(joined) ? after(event.ms) : clock(joined + event.ms, true)),
    h('span', { class: 'quiet' }, after(event.ms)), h('span', {}, words(event))];
  const [first] = run;
  const bad = REFUSED.includes(first.route) || first.kind === 'dropped';
  if (run.length === 1) return h('li', { class: bad ? 'bad' : null }, ...line(first));
  const [moment, later] = line(first);
  return h('li', { class: bad ? 'bad' : null }, moment, later, h('details', {}, h('summary', {}, `${number(run.length)} × ${alike(first)}`),
    h('ol', {}, ...run.map((event) => h('li', {}, ...line(event))))));
}

/** What the messages of a run have in common. */
function alike(event) {
  const { bytes: _, ...rest } = event;
  return words(rest);
}

/**
 * Where marks stand: at their times, but apart, in their order and within the line.
 * @param {number[]} times of events in milliseconds since the join, in order
 * @param {number} last the time at the right end
 * @param {number} width
 */
export function places(times, last, width) {
  const gap = Math.min(GAP, (width - 2 * MARGIN) / Math.max(1, times.length - 1));
  let least = MARGIN;
  const pushed = times.map((ms) => {
    const x = Math.max(least, MARGIN + (width - 2 * MARGIN) * Math.max(0, ms) / last);
    least = x + gap;
    return x;
  });
  let most = width - MARGIN;
  return pushed.toReversed().map((pushedTo) => {
    const x = Math.min(most, pushedTo);
    most = x - gap;
    return x;
  }).toReversed();
}

/** The axis: round times since the join, and the clock at both ends. */
function scale(joined, last, width) {
  const isFine = last < COARSE_MS;
  const base = HEIGHT + SCALE - 5;
  const clocks = [[0, joined, 'start'], [width, joined + last, 'end']].map(([x, moment, anchor]) =>
    svg('text', { class: 'scale-end', x, y: base, 'text-anchor': anchor }, clock(moment, isFine)));
  const reserved = (isFine ? FINE_CLOCK : CLOCK) + LABEL / 2;
  const times = ticks(last, Math.max(2, Math.floor((width - 2 * MARGIN) / LABEL)));
  const texts = roundTimes(times);
  const marks = times.flatMap((ms, place) => {
    const x = MARGIN + (width - 2 * MARGIN) * ms / last;
    const hasRoom = x >= reserved && x <= width - reserved;
    return [svg('line', { class: 'tick', x1: x, x2: x, y1: 2, y2: HEIGHT + 1 }),
      ...hasRoom ? [svg('text', { class: 'tick-label', x, y: base, 'text-anchor': 'middle' }, `+${texts[place]}`)] : []];
  });
  return [...marks, ...clocks];
}

function mark(event, x) {
  const middle = HEIGHT / 2;
  const kind = MARKS[event.action] ?? 'join';
  const title = svg('title', {}, `${after(event.ms)} ${words(event)}`);
  const kept = event.route === 'kept' ? ' mark-kept' : '';
  if (event.kind === 'dropped' || REFUSED.includes(event.route)) {
    return svg('path', { class: 'mark mark-dropped', d: `M${x - 5} ${middle - 5}l10 10M${x + 5} ${middle - 5}l-10 10` }, title);
  }
  if (kind === 'join') {
    return svg('line', { class: 'mark mark-join', x1: x, x2: x, y1: 4, y2: HEIGHT - 4 }, title);
  }
  const up = event.from === 'viewer' || event.kind === 'delivered';
  const path = kind === 'candidate' ? `M${x - 2} ${middle - 6}h4v12h-4z`
    : up ? `M${x - 7} ${middle + 7}h14l-7-14z` : `M${x - 7} ${middle - 7}h14l-7 14z`;
  return svg('path', { class: `mark mark-${kind}${kept}`, d: path }, title);
}

function after(ms) {
  return ms < 1000 ? `+${number(ms)} ms` : `+${(ms / 1000).toFixed(2)} s`;
}

function words(event) {
  const size = event.bytes ? `, ${bytes(event.bytes)}` : '';
  const from = event.from ? ` from the ${event.from}` : '';
  const route = event.route ? `, ${ROUTES[event.route] ?? event.route}` : '';
  const before = event.after ? ` after it was ${ROUTES[event.after] ?? event.after}` : '';
  const why = event.says ?? event.reason ?? event.why;
  const reason = why ? `: ${why}` : '';
  return `${event.action ?? event.kind}${from}${event.action && event.kind !== 'message' ? ` ${event.kind}` : ''}${before}${size}${route}${reason}`;
}
