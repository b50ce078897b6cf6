// What has happened in the sessions of a channel. Shows all sessions on one axis, and a lane for each viewer, as drawn
// by the broker. Also shows the events in the broker's words, and hints.

import { drawn, h, keyed, put } from '../dom.js';
import { clock, count, number } from '../format.js';

/** Number of masters shown unless all are requested. */
const MASTERS = 5;

const keyOf = (one) => `${one.clientId} ${one.connection} ${one.joined}`;

export function timeline() {
  const lanes = h('div', { class: 'lanes' });
  const note = h('p', { class: 'quiet' }, 'Loading …');
  const key = h('p', { class: 'legend' }, ...[['call', 'API call'], ['join', 'joined or left'], ['offer', 'offer'], ['answer', 'answer'],
    ['candidate', 'candidate'], ['confirmed', 'confirmed'], ['kept', 'queued'], ['dropped', 'dropped or refused']].map(([kind, text]) =>
    h('span', {}, h('i', { class: `key mark-${kind}` }), text)));
  const masters = h('ul', { class: 'masters', 'aria-label': 'Cameras, the newest first' });
  const older = h('button', { type: 'button', class: 'small', hidden: true, click: () => { every = true; drawMasters(); } });
  const axis = h('div', { click: ({ target }) => show(shown[target.parentElement?.getAttribute('data-session') ?? '']) });
  const ends = h('p', { class: 'xs', 'aria-hidden': 'true' }, h('span'), h('span'));
  const whole = h('div', {}, masters, older, axis, ends, key, lanes, note);
  /** @type {any[]} */
  let shown = [];
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

  /** Shows the lane of a session, and opens the run that contains it. */
  function show(one) {
    if (one === undefined) return;
    for (const row of lanes.querySelectorAll(':scope > .fold')) if (newest.get(row)?.sessions.includes(one)) row.setAttribute('open', '');
    setTimeout(() => [...lanes.querySelectorAll('.lane')].find((lane) => lane.getAttribute('data-key') === keyOf(one))?.scrollIntoView({ block: 'center' }));
  }

  return {
    whole,
    /** Returns the width of a lane, for the broker to draw. */
    width: () => Math.round(lanes.querySelector('.lane svg')?.clientWidth || 600),
    update(trace) {
      shown = trace.viewers ?? [];
      let next = shown.length;
      const runs = (trace.folds ?? shown.map(() => ({ sessions: 1 }))).toReversed()
        .map(({ sessions, says }) => ({ says, sessions: shown.slice(next -= sessions, next + sessions).toReversed() }));
      key.hidden = shown.length === 0;
      put(note, trace.recording === false ? 'Not available: this broker records no session traces.'
        : shown.length === 0 ? `No viewer sessions yet. ${since(trace)}`
          : `${since(trace)} Marks of a burst are drawn side by side; the events have exact times.`);
      known = (trace.master ?? []).toReversed();
      drawMasters();
      for (const place of [axis, ends]) place.hidden = shown.length < 2 || !trace.axis;
      if (!axis.hidden) {
        picture(axis, trace.axis.picture);
        axis.firstElementChild.style.height = `${trace.axis.height / 12}rem`;
        [trace.axis.from, trace.axis.to].forEach((text, place) => put(ends.children[place], text));
      }
      keyed(lanes, runs, ({ sessions }) => (sessions.length === 1 ? keyOf(sessions[0]) : `run ${keyOf(sessions.at(-1))}`), makeRun, drawRun);
    },
    absent(text) {
      lanes.replaceChildren();
      [axis.hidden, ends.hidden] = [true, true];
      masters.replaceChildren();
      older.hidden = true;
      key.hidden = true;
      put(note, text);
    },
  };
}

function since(trace) {
  const reach = trace.reachesBackTo ? `History since ${clock(Date.parse(trace.reachesBackTo))}.` : '';
  return trace.truncated ? `${reach} Only the newest events are shown.` : reach;
}

/** Describes when a master was connected, and why it left. */
function master(one) {
  const from = `Camera ${one.remote} from ${clock(Date.parse(one.joined))}`;
  return one.left === null ? `${from} until now${one.superseded ? ', superseded' : ''}` : `${from} to ${clock(Date.parse(one.left))}: ${one.says ?? one.reason ?? ''}`;
}

/** The latest state of each folded run. @type {WeakMap<Element, any>} */
const newest = new WeakMap();
/** The picture that each element shows, as sent by the broker. @type {WeakMap<Element, string>} */
const pictures = new WeakMap();

/** Shows a picture, unless it is shown already. */
function picture(place, tree) {
  const text = JSON.stringify(tree);
  if (pictures.get(place) !== text) place.replaceChildren(drawn(tree));
  pictures.set(place, text);
}

function makeRun({ sessions }) {
  if (sessions.length === 1) return make(sessions[0]);
  const row = h('details', { class: 'fold', toggle: () => drawRun(row, newest.get(row)) }, h('summary'), h('div', { class: 'lanes' }));
  return row;
}

/** Shows one session, or several that are alike. The lanes of the latter are shown when the run is opened. */
function drawRun(row, run) {
  if (run.sessions.length === 1) { draw(row, run.sessions[0]); return; }
  newest.set(row, run);
  put(row.firstElementChild, run.says);
  if (row.hasAttribute('open')) keyed(row.lastElementChild, run.sessions, keyOf, make, draw);
}

function make(one) {
  return h('div', { class: 'lane' }, h('div', { class: 'head' }, h('span', { class: 'who' }, one.clientId), h('span', { class: 'quiet' }), h('div')),
    h('ul', { class: 'hints' }), h('details', {}, h('summary'), h('pre', { tabindex: '0', role: 'region', 'aria-label': `Events of ${one.clientId}` })));
}

function draw(row, one) {
  const [head, hints, details] = row.children;
  drawHints(hints, one.hints, one.done);
  put(head.children[1], standing(one));
  head.lastElementChild.toggleAttribute('hidden', one.joined === null || !one.lane);
  if (one.lane) picture(head.lastElementChild, one.lane);
  put(details.firstElementChild, count((one.events ?? []).length, 'event'));
  put(details.lastElementChild, one.text ?? '');
}

/** Describes whether a viewer is connected. */
function standing(one) {
  if (one.connection === null) return 'not connected';
  if (one.left === null || one.left === undefined) return `connected since ${clock(Date.parse(one.joined))}`;
  return `${clock(Date.parse(one.joined))}, left: ${one.says ?? one.reason ?? ''}`;
}

/** Shows the hints. They indicate trouble, except for the last one of a session that is done. */
function drawHints(list, hints, done = false) {
  const lines = (hints ?? []).map((text, place) => ({ text, look: done && place === hints.length - 1 ? 'done' : '' }));
  keyed(list, lines, (hint) => hint.text, () => h('li'), (item, hint) => {
    put(item, hint.text);
    item.className = hint.look;
  });
}
