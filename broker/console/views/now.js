// What is wrong: one list of the broker's causes. Each shows its numbers, when it began, and what to do. An opened
// cause also shows who is affected and what they have in common.

import { get, post, remove } from '../api.js';
import { notifier } from '../alarm.js';
import { h, keyed, put, table } from '../dom.js';
import { channelLink, count, number, stamp } from '../format.js';

/** Number of causes shown unless all are requested. There are fewer on a phone. Persistent ones are always shown. */
const SHOWN = matchMedia('(max-width: 40rem)').matches ? 3 : 5;
/** Interval between requests about a cause that is opened. */
const EVERY_MS = 5000;
const HOURS = [[1, '1 hour'], [8, '8 hours'], [24, '1 day'], [168, '1 week']];
/** The kinds of values that causes have in common, in words. */
const WHAT = { key: 'key', principal: 'principal', userAgent: 'user agent', network: 'network', node: 'node' };

export function now(node) {
  const rows = problemList(node);
  const rest = h('button', { type: 'button', class: 'small', click: () => { every = true; draw(); } });
  const fine = h('p', { class: 'fine', hidden: true }, 'No problems.');
  const foot = h('div', { class: 'row' }, h('span', { class: 'quiet' }), rest);
  const whole = h('section', { class: 'card now live', hidden: true }, h('div', { class: 'row title' }, h('h2', {}, 'Now'), notifier()), fine, rows.whole, foot);
  let every = false;
  /** @type {any} */
  let state = null;

  function draw() {
    const all = state?.now?.problems;
    whole.hidden = all === undefined;
    if (all === undefined) return;
    const shown = every ? all : all.filter((one, place) => one.kind === 'standing' && one.ended === null
      || all.slice(0, place).filter((other) => other.kind !== 'standing').length < SHOWN);
    rows.update(shown);
    const total = Math.max(all.length, state.now.problemsOpen);
    rest.hidden = shown.length === all.length;
    put(rest, `All ${number(all.length)}`);
    put(foot.firstElementChild, shown.length < total ? `${number(shown.length)} of ${number(total)}` : '');
    foot.hidden = shown.length === total;
    fine.hidden = all.length > 0;
    whole.classList.toggle('well', state.now.problemsOpen === 0);
  }

  return { whole, update(next) { state = next; draw(); }, end: rows.end };
}

/**
 * Creates a list of causes. The rows do not move while the pointer or the focus is in the list or a cause is opened.
 */
export function problemList(node) {
  const list = h('ul', { class: 'problems', role: 'list', 'aria-label': 'Problems, the gravest first',
    pointerleave: () => draw(), focusout: () => setTimeout(draw) });
  /** @type {any[]} */
  let problems = [];
  /** @type {string[]} */
  let order = [];

  function draw() {
    const stays = list.matches(':hover') || list.contains(document.activeElement) || list.querySelector('details[open]') !== null;
    const rows = stays ? settled(order, problems) : problems;
    order = rows.map(({ id }) => id);
    keyed(list, rows, ({ id }) => id, (one) => make(one, node), update);
  }

  const timer = setInterval(() => list.querySelectorAll('details[open]').forEach((row) => row.dispatchEvent(new Event('toggle'))), EVERY_MS);
  return { whole: list, update(next) { problems = next; draw(); }, end() { clearInterval(timer); } };
}

/** Returns the causes in their previous order. New causes come last. Pure. */
export function settled(order, problems) {
  const place = ({ id }) => (order.includes(id) ? order.indexOf(id) : order.length);
  return problems.toSorted((a, b) => place(a) - place(b));
}

/** The latest state of the cause in each row. @type {WeakMap<Element, any>} */
const newest = new WeakMap();

function make(one, node) {
  const link = h('a', {}, 'Show it');
  const shared = h('ul', { class: 'shared' });
  const members = table(['Channel', 'Who', 'Address', '#Events', 'First', 'Last'], 'Who is affected');
  const more = h('p', { class: 'quiet' });
  const mark = known(one.id);
  const body = h('div', { class: 'body' }, h('p', {}, link), shared, members.whole, more, mark.whole);
  const row = h('details', {}, h('summary', {}, h('b', { class: 'who' }), h('code', { class: 'pill' }), h('span', { class: 'quiet number' }),
    h('span', { class: 'says' }, h('span'), ' ', h('span', { class: 'quiet' })), h('span', { class: 'quiet when number' })), body);
  row.addEventListener('toggle', async () => {
    if (!row.open) return;
    const of = newest.get(row);
    const { status, data } = await get(`/problems/${encodeURIComponent(one.id)}`);
    const it = status === 200 ? data : of;
    link.toggleAttribute('hidden', !it.href);
    link.setAttribute('href', leadsTo(it));
    keyed(shared, it.shared ?? [], (part) => `${part.what} ${part.value}`, () => h('li'), (item, part) => put(item, inCommon(part)));
    members.whole.hidden = it.members.length === 0;
    keyed(members.body, it.members, (who) => `${who.channel} ${who.role} ${who.clientId} ${who.remote}`, (who) => h('tr', { class: who.ended ? 'ended' : null },
      h('th', { scope: 'row' }, who.arn ? h('a', { href: channelLink(who.arn, node()) }, who.channel) : who.channel ?? who.keyId ?? '–'), h('td'), h('td'), h('td', { class: 'number' }), h('td'), h('td')),
    (line, who) => [who.clientId ?? (who.role === 'master' ? 'camera' : who.role ?? ''), who.remote ?? '', number(who.events), stamp(Date.parse(who.first)), stamp(Date.parse(who.last))]
      .forEach((text, place) => put(line.children[place + 1], text)));
    more.hidden = !(it.more > 0);
    put(more, `${number(it.members.length)} of ${number(it.members.length + (it.more ?? 0))} are kept.`);
    mark.update(it.known);
  });
  return h('li', {}, row);
}

function update(item, one) {
  const row = item.firstElementChild;
  newest.set(row, one);
  const [who, pill, times, says, when] = row.firstElementChild.children;
  const isOver = one.ended !== null;
  item.className = `problem${isOver || one.known !== null ? ' ended' : ''}`;
  put(who, one.title);
  put(pill, one.check);
  pill.className = `pill ${isOver || one.known !== null ? 'none' : one.look}`;
  put(times, [one.channels > 1 ? count(one.channels, 'channel') : '', one.events > 1 ? `${number(one.events)} ×` : ''].filter(Boolean).join(', '));
  put(says.firstElementChild, one.says.replaceAll('`', ''));
  put(says.lastElementChild, one.known === null ? (one.do ?? '').replaceAll('`', '') : `Known until ${stamp(Date.parse(one.known.until))}: ${one.known.why}`);
  put(when, lasted(one));
}

/** Returns where a cause leads. For a file that was not applied, this is the line about it in the log. Pure. */
export function leadsTo({ check, cause, href }) {
  if (check !== 'reload_failed' || href !== '#/log') return href ?? '';
  return `#/log?${new URLSearchParams({ level: 'WARN', search: `the ${cause.value} stays as it was` })}`;
}

/** Describes when a cause began, when it was last seen, and when it ended. Pure. */
export function lasted({ first, last, ended, endedBy }) {
  const [from, to] = [first, ended ?? last].map((moment) => stamp(Date.parse(moment)));
  if (ended === null) return from === to ? `since ${from}` : `since ${from}, last ${to}`;
  return `from ${from}, ended ${to}${endedBy ? `, ${endedBy}` : ''}`;
}

/** Describes what members share, as in "28 of 30 have network 10.0.4.0/24, and 2 of 4,000 others." Pure. */
export function inCommon({ what, value, members, of, healthy, ofHealthy }) {
  const others = healthy === null ? (what === 'userAgent' ? '; of connected clients it is not kept' : '') : ofHealthy === 0 ? '' : `, and ${number(healthy)} of ${number(ofHealthy)} others`;
  return `${number(members)} of ${number(of)} have ${WHAT[what] ?? what} ${value}${others}.`;
}

/** Marks a cause as known until a given time, with a reason for whoever looks next. Can also remove the mark. */
function known(id) {
  const path = `/problems/${encodeURIComponent(id)}/known`;
  const hours = /** @type {HTMLSelectElement} */ (h('select', { 'aria-label': 'Known for' }, ...HOURS.map(([value, text]) => h('option', { value }, text))));
  const why = /** @type {HTMLInputElement} */ (h('input', { required: true, maxlength: 200, placeholder: 'why, for who looks next', 'aria-label': 'Why' }));
  const answer = h('span', { role: 'status', class: 'quiet' });
  const say = ({ status, data }) => put(answer, status < 300 && status > 0 ? 'Noted.' : data.error ?? `status ${status}`);
  const off = h('button', { type: 'button', class: 'small', click: async () => say(await remove(path)) }, 'No longer known');
  const whole = h('form', { class: 'row', submit: async (event) => {
    event.preventDefault();
    const until = new Date(Date.now() + Number(hours.value) * 3_600_000).toISOString();
    say(await post(path, { until, why: why.value }));
  } }, 'Known for', hours, why, h('button', { class: 'small' }, 'Mark as known'), off, answer);
  return { whole, update(mark) {
    off.hidden = mark === null;
    off.title = mark === null ? '' : `Marked by ${mark.by} until ${stamp(Date.parse(mark.until))}`;
  } };
}
