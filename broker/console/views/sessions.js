// The sessions of a channel together: what they say of its camera in one sentence, all of them on one axis, equal ones as one.

import { h, put, svg } from '../dom.js';
import { ago, clock, count, minuteOf, number, span, stamp, zone } from '../format.js';
import { placeOf } from '../series.js';

/** Sessions one after the other that are alike and are drawn as one, from this many on. */
const ALIKE = 4;
/** Rows of sessions at the same time; further ones are drawn over the last. */
const ROWS = 8;
/** An offer that is younger than this may be answered yet. */
const PATIENCE_S = 5;
/** Of the picture, and of a row in it. */
const [WIDTH, ROW] = [600, 12];
const LOOKS = { unanswered: 'bad', 'without an offer': 'warn', answered: 'good' };

export const keyOf = (one) => `${one.clientId} ${one.connection} ${one.joined}`;

/** How far a viewer's session came. Pure. */
export function outcome({ joined, events, done }) {
  const has = (action) => (events ?? []).some((event) => event.action === action && !['refused', 'throttled', 'overflow'].includes(event.route));
  if (joined === null) return 'never connected';
  if (done || has('SDP_ANSWER')) return 'answered';
  return has('SDP_OFFER') ? 'unanswered' : 'without an offer';
}

/** Sessions in runs of the same outcome; those that are too short, or go on, in runs of one. Pure. */
export function runsOf(viewers) {
  const runs = [];
  for (const one of viewers) {
    const [before] = runs.at(-1) ?? [];
    const isAlike = before !== undefined && one.left && before.left && outcome(before) === outcome(one);
    if (isAlike) runs.at(-1).push(one); else runs.push([one]);
  }
  return runs.flatMap((run) => (run.length < ALIKE ? run.map((one) => [one]) : [run]));
}

/** "16 × unanswered, 07:27 to 07:32": a run, the newest session first. Pure. */
export function runInWords(run) {
  const [from, to] = [run.at(-1), run[0]].map(({ joined }) => minuteOf(Date.parse(joined)));
  return `${number(run.length)} × ${outcome(run[0])}, ${from === to ? from : `${from} to ${to}`}`;
}

/** What is to be known of a channel's camera, from its document and its sessions, the newest first. Pure, but for the time. */
export function inOneSentence(channel, viewers) {
  const waits = (channel.presence?.waiting?.length ?? 0) + (channel.presence?.waitingMore ?? 0);
  if (channel.master === null) return `No camera is connected${waits > 0 ? `, and ${count(waits, 'viewer')} wait${waits === 1 ? 's' : ''} for it` : ''}.`;
  const since = channel.presence?.master?.doubtfulSince;
  if (since) return `Connected, but it has confirmed nothing for ${span(Math.max(0, ago(since)))}: it may be cut off.`;
  const known = viewers.filter((one) => outcome(one) === 'answered' || outcome(one) === 'unanswered' && (one.left || ago(one.joined) > PATIENCE_S));
  const first = known.findIndex((one) => outcome(one) === 'answered');
  const mute = first < 0 ? known : known.slice(0, first);
  if (mute.length > 0) return `Connected, but answers no offer: ${count(mute.length, 'viewer')} since ${minuteOf(Date.parse(mute.at(-1).joined))}.`;
  return known.length === 0 ? 'Connected. No viewer has sent an offer.' : `Connected. The last viewer was answered at ${clock(Date.parse(known[0].joined))}.`;
}

/** All sessions on one axis, the camera's above; `go` gets the session that is clicked. */
export function strip(go) {
  const picture = svg('svg', { class: 'strip', preserveAspectRatio: 'none', role: 'img' });
  const ends = h('p', { class: 'xs', 'aria-hidden': 'true' }, h('span'), h('span'));
  const whole = h('div', { hidden: true }, picture, ends);
  return { whole, update({ master = [] }, viewers) {
    const all = [...master, ...viewers].filter(({ joined }) => joined !== null && joined !== undefined);
    whole.hidden = viewers.length < 2 || all.length === 0;
    if (whole.hidden) return;
    const time = (text) => (text ? Date.parse(text) : Date.now());
    const axis = { from: Math.min(...all.map(({ joined }) => time(joined))), to: Math.max(...all.map(({ left }) => time(left))) };
    const rows = [];
    const bar = (one, row, look, text) => {
      const [from, to] = [one.joined, one.left].map((at) => WIDTH * placeOf(time(at), axis));
      return svg('rect', { class: `bar-${look}`, x: from, width: Math.max(2, to - from), y: row * ROW + 1, height: ROW - 2, click: () => go(one) }, svg('title', {}, text));
    };
    const bars = viewers.filter(({ joined }) => joined).toReversed().map((one) => {
      const free = rows.findIndex((end) => end <= time(one.joined));
      const row = free >= 0 ? free : Math.min(ROWS - 1, rows.length);
      rows[row] = time(one.left);
      return bar(one, row + 1, LOOKS[outcome(one)] ?? 'none', `${one.clientId}: ${outcome(one)}, ${stamp(time(one.joined))}`);
    });
    picture.setAttribute('viewBox', `0 0 ${WIDTH} ${ROW * (rows.length + 1)}`);
    picture.style.height = `${rows.length + 1}rem`;
    picture.replaceChildren(...master.map((one) => bar(one, 0, 'camera', `camera ${one.remote}, from ${stamp(time(one.joined))}`)), ...bars);
    picture.setAttribute('aria-label', `Sessions from ${stamp(axis.from)} to ${stamp(axis.to)} ${zone(axis.to)}: ${runsOf(viewers).slice(0, 5).map(runInWords).join('; ')}`);
    put(ends.firstElementChild, `${stamp(axis.from)} ${zone(axis.from)}`);
    put(ends.lastElementChild, stamp(axis.to));
  } };
}
