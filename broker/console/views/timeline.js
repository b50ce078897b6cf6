// What happened in the sessions of a channel: a lane for each viewer, its events as marks over time, and hints in words.

import { h, keyed, put, svg } from '../dom.js';
import { bytes, clock, number, roundTime, ticks } from '../format.js';

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

export function timeline() {
  const lanes = h('div', { class: 'lanes' });
  const note = h('p', { class: 'quiet' }, 'Loading …');
  const key = h('p', { class: 'legend' }, ...[['join', 'joined or left'], ['offer', 'offer'], ['answer', 'answer'],
    ['candidate', 'candidate'], ['kept', 'kept'], ['dropped', 'dropped']].map(([kind, text]) => h('span', {}, h('i', { class: `key mark-${kind}` }), text)));
  const masters = h('ul', { class: 'hints' });
  const whole = h('div', {}, masters, key, lanes, note);
  key.hidden = true;
  return {
    whole,
    update(trace) {
      const viewers = trace.viewers ?? [];
      key.hidden = viewers.length === 0;
      put(note, trace.recording === false ? 'Not available: this broker records no session traces.'
        : viewers.length === 0 ? `No viewer's session is known. ${since(trace)}`
          : `${since(trace)} Marks of a burst stand side by side; their list has the exact times.`);
      const lines = (trace.master ?? []).toReversed().flatMap((one) =>
        [master(one), ...(one.hints ?? [])].map((text, number) => ({ key: `${one.connection} ${one.joined} ${number}`, text })));
      keyed(masters, lines, (line) => line.key, () => h('li'), (item, line) => put(item, line.text));
      keyed(lanes, viewers, (one) => `${one.clientId} ${one.connection} ${one.joined}`, make, draw);
    },
    absent(text) {
      lanes.replaceChildren();
      masters.replaceChildren();
      key.hidden = true;
      put(note, text);
    },
  };
}

function since(trace) {
  const reach = trace.reachesBackTo ? `History since ${clock(Date.parse(trace.reachesBackTo))}.` : '';
  return trace.truncated ? `${reach} Only the newest events are shown.` : reach;
}

/** When a master was connected, and why it left. */
function master(one) {
  const from = `Master ${one.remote} from ${clock(Date.parse(one.joined))}`;
  return one.left === null ? `${from} until now` : `${from} to ${clock(Date.parse(one.left))}: ${one.says ?? one.reason ?? ''}`;
}

function make(one) {
  return h('details', { class: 'lane' }, h('summary', {}, h('span', { class: 'who' }, one.clientId), h('span', { class: 'quiet' }),
    svg('svg', { 'aria-hidden': 'true' })),
  h('ul', { class: 'hints' }), h('ol', { class: 'events' }));
}

function draw(row, one) {
  const [summary, list, all] = row.children;
  const events = [...(one.events ?? [])].sort((a, b) => a.ms - b.ms);
  const last = Math.max(1, events.at(-1)?.ms ?? 1);
  const picture = summary.lastElementChild;
  const width = picture.clientWidth || 600;
  const drawn = `${events.length} ${last} ${one.left} ${width}`;
  if (row.getAttribute('data-drawn') === drawn) return;
  row.setAttribute('data-drawn', drawn);
  put(summary.children[1], one.left === null || one.left === undefined ? 'connected' : `left: ${one.says ?? one.reason ?? ''}`);
  const at = places(events.map(({ ms }) => ms), last, width);
  picture.setAttribute('viewBox', `0 0 ${width} ${HEIGHT + SCALE}`);
  picture.replaceChildren(svg('line', { class: 'lane-line', x1: MARGIN, x2: width - MARGIN, y1: HEIGHT / 2, y2: HEIGHT / 2 }),
    ...scale(Date.parse(one.joined), last, width), ...events.map((event, place) => mark(event, at[place])));
  keyed(list, (one.hints ?? []).map((text) => ({ text })), (hint) => hint.text, () => h('li'), (item, hint) => put(item, hint.text));
  keyed(all, events.map((event, number) => ({ event, number })), ({ number }) => String(number),
    () => h('li', {}, h('b'), h('span')), (item, { event }) => {
      put(item.firstElementChild, after(event.ms));
      put(item.lastElementChild, words(event));
    });
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
  const marks = ticks(last, Math.max(2, Math.floor((width - 2 * MARGIN) / LABEL))).flatMap((ms) => {
    const x = MARGIN + (width - 2 * MARGIN) * ms / last;
    const hasRoom = x >= reserved && x <= width - reserved;
    return [svg('line', { class: 'tick', x1: x, x2: x, y1: 2, y2: HEIGHT + 1 }),
      ...hasRoom ? [svg('text', { class: 'tick-label', x, y: base, 'text-anchor': 'middle' }, `+${roundTime(ms)}`)] : []];
  });
  return [...marks, ...clocks];
}

function mark(event, x) {
  const middle = HEIGHT / 2;
  const kind = MARKS[event.action] ?? 'join';
  const title = svg('title', {}, `${after(event.ms)} ${words(event)}`);
  const kept = event.route === 'kept' ? ' mark-kept' : '';
  if (kind === 'join') {
    return svg('line', { class: 'mark mark-join', x1: x, x2: x, y1: 4, y2: HEIGHT - 4 }, title);
  }
  if (event.kind === 'dropped') {
    return svg('path', { class: 'mark mark-dropped', d: `M${x - 5} ${middle - 5}l10 10M${x + 5} ${middle - 5}l-10 10` }, title);
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
  const route = event.route ? `, ${event.route === 'to' ? 'delivered' : event.route}` : '';
  const before = event.after ? ` after it was ${event.after}` : '';
  const why = event.says ?? event.reason ?? event.why;
  const reason = why ? `: ${why}` : '';
  return `${event.action ?? event.kind}${from}${event.action && event.kind !== 'message' ? ` ${event.kind}` : ''}${before}${size}${route}${reason}`;
}
