// Refusals by check and channel. Each group is a row with its number and its last hour. An opened row also shows what
// to do and each refusal.

import { get } from '../api.js';
import { h, keyed, put, svg } from '../dom.js';
import { clock, count, number } from '../format.js';

/** Number of refusals that an opened row shows at a time. */
const ROWS = 50;

/** Returns the key of a group, which distinguishes it from all others. */
const keyOf = (group) => [group.node, group.check, group.channel ?? `key ${group.keyId ?? ''}`, group.requestId ? '' : 'others'].join(' ');

/** The latest state of the group in each row. @type {WeakMap<Element, any>} */
const newest = new WeakMap();

/** Creates a list of groups. While a row is open, the other rows do not move, and new ones are added at the end. */
export function groupList() {
  const list = h('div', { class: 'refusals' });
  /** @type {Map<string, any>} */
  let shown = new Map();
  return {
    whole: list,
    update(groups) {
      const next = new Map(groups.map((group) => [keyOf(group), group]));
      const open = new Set([...list.querySelectorAll(':scope > details[open]')].map((row) => row.getAttribute('data-key')));
      if (open.size > 0) {
        const stay = [...shown].filter(([key]) => next.has(key) || open.has(key));
        const old = new Map(stay.map(([key, group]) => [key, next.get(key) ?? group]));
        shown = new Map([...old, ...next]);
      } else {
        shown = next;
      }
      keyed(list, [...shown.values()], keyOf, make, update);
    },
    open() { list.querySelector('details')?.setAttribute('open', ''); },
  };
}

function make(group) {
  const body = h('div', { class: 'body' });
  const row = h('details', { class: 'card refusal', toggle: () => { if (body.childElementCount === 0) fill(body, row); } },
    h('summary', {}, h('code', { class: 'pill bad' }, group.check), h('b', { class: 'who' }), h('span', { class: 'quiet names' }),
      h('span', { class: 'says' }),
      h('span', { class: 'times' }, svg('svg', { class: 'spark', viewBox: '0 0 60 16', preserveAspectRatio: 'none', role: 'img' },
        svg('title'), svg('path', { class: 'bar-bad' })), h('b', { class: 'number' }), h('span', { class: 'quiet number' }))),
    body);
  return row;
}

function update(row, group) {
  newest.set(row, group);
  const sum = row.querySelector('.sum');
  if (sum !== null) put(sum, summed(group));
  const [, who, names, says, times] = row.firstElementChild.children;
  const of = group.channel ?? group.thing ?? group.certificate ?? group.session ?? group.subject;
  put(who, of ?? (group.requestId ? group.keyId ?? 'no channel named' : 'further channels and keys'));
  put(names, named(group, (of ?? null) !== null).join(' · '));
  put(says, (group.policy ? `Reason: ${group.policy}` : group.says ?? group.errorType ?? '').replaceAll('`', ''));
  const minutes = group.minutes ?? [];
  put(times.firstElementChild.firstElementChild, 'refusals of each minute of the last hour');
  times.firstElementChild.lastElementChild.setAttribute('d', bars(minutes));
  times.firstElementChild.toggleAttribute('hidden', minutes.length === 0);
  put(times.children[1], group.refusals ? `${number(group.refusals)} ×` : '');
  put(times.children[2], group.last ?? group.at ? clock(Date.parse(group.last ?? group.at)) : '');
}

/** Describes the client, key and address of a refusal. */
function named(one, withKey) {
  return [one.clientId ? `client ${one.clientId}` : null, withKey && one.keyId ? `key ${one.keyId}` : null,
    one.principal ? `principal ${one.principal}` : null, one.remote ? `from ${one.remote}` : null].filter((it) => it !== null);
}

/** Draws the bars of a picture of 60 by 16. Pure. */
export function bars(minutes) {
  const most = Math.max(1, ...minutes);
  return minutes.map((one, place) => (one === 0 ? '' : `M${place} 16V${(15 * (1 - one / most)).toFixed(1)}h.8V16z`)).join('');
}

/** Shows a text whose parts between backticks are code. */
function coded(text) {
  return text.split('`').map((part, place) => (place % 2 === 0 ? part : h('code', {}, part)));
}

/** Describes how many refusals a group has. */
function summed(group) {
  return group.refusals > 1 ? `${count(group.refusals, 'refusal')} since ${clock(Date.parse(group.first))}. The newest:` : '';
}

/** Fills the opened part of a row. */
function fill(body, row) {
  const group = newest.get(row);
  const facts = [['Request id', group.requestId], ['Operation', group.operation], ['Channel', group.channel],
    ['Client id', group.clientId], ['Session', group.session],
    ['Certificate', group.certificate], ['Thing', group.thing], ['Issuer', group.issuer], ['Subject', group.subject],
    ['Role', group.role], ['Principal', group.principal], ['Access key', group.keyId], ['Address', group.remote],
    ['Shard', group.shard], ['Fault', group.fault], ['Reason', group.policy],
    ['Clock of the caller', group.clockSkewSeconds ? `${number(group.clockSkewSeconds)} s off` : null]];
  const known = facts.filter(([, value]) => value !== null && value !== undefined);
  const request = h('pre', { tabindex: '0', role: 'region', 'aria-label': 'The request as it was signed', hidden: true });
  body.append(group.do ? h('p', { class: 'do' }, ...coded(group.do)) : '', h('p', { class: 'quiet sum' }, summed(group)));
  if (!group.requestId) return;
  body.append(h('dl', { class: 'facts' }, ...known.map(([label, value]) => h('div', {}, h('dt', {}, label), h('dd', {}, value)))),
    h('p', { class: 'quiet' }, `Answered with ${group.status ?? '–'} ${group.errorType ?? ''}`), request);
  explain(group.requestId, request);
  if (group.refusals > 1) body.append(singles(row));
}

/** Lists every refusal of a group that is kept, from newest to oldest. */
function singles(row) {
  const group = newest.get(row);
  const rows = h('ol', { class: 'rows' });
  const more = h('button', { type: 'button', class: 'small', hidden: true, click: () => load() }, 'More');
  const note = h('p', { class: 'quiet' });
  const place = new URLSearchParams({ check: group.check, limit: String(ROWS) });
  if (group.channel !== null) place.set('channel', group.channel);
  else if (group.keyId !== null) place.set('key', group.keyId);
  /** @type {any[]} */
  let all = [];

  async function load() {
    const { status, data } = await get(`/refusals?${place}`);
    if (status !== 200) { put(note, data.error ?? `status ${status}`); return; }
    all = all.concat(data.refusals);
    keyed(rows, all, (one) => one.requestId, (one) => h('li', {}, h('span', { class: 'quiet' }, clock(Date.parse(one.at), true)),
      h('span', {}, named(one, true).join(' · ')), h('a', { href: `#/why/${encodeURIComponent(one.requestId)}` }, 'Details')), () => {});
    more.hidden = data.next === null || data.next === undefined;
    place.set('before', String(data.next));
    const kept = all.length + (more.hidden ? 0 : data.found - data.refusals.length);
    put(note, kept < newest.get(row).refusals ? `${number(kept)} of them are kept with their details.` : '');
  }

  load();
  return h('div', {}, rows, more, note);
}

/** Shows the request as the broker saw it. */
async function explain(id, request) {
  const { status, data } = await get(`/refusals/${encodeURIComponent(id)}`);
  const text = status === 200 ? data.explain?.canonicalRequest : null;
  request.hidden = !text;
  put(request, text ?? '');
}
