// Why requests were refused: refusals by check and channel, with their numbers. Can be searched by any name, address or
// request id.

import { get, isMissing } from '../api.js';
import { h, put } from '../dom.js';
import { count, kindOf, number, partsOf } from '../format.js';
import { groupList } from './refused.js';

/** Number of groups shown at first, and number added each time. */
const PAGE = 100;
/** Interval between requests if no events arrive. */
const EVERY_MS = 5000;

export function why(root, { name, parameters }) {
  const box = /** @type {HTMLInputElement} */ (h('input', { type: 'search', id: 'what', autocomplete: 'off', spellcheck: 'false',
    maxlength: 400, placeholder: 'request id, channel, ARN, client, principal, key or address' }));
  box.value = name;
  const check = /** @type {HTMLSelectElement} */ (h('select', { id: 'check', change: () => { wanted = PAGE; load(); } },
    h('option', { value: '' }, 'every check')));
  const first = parameters.get('check') ?? '';
  if (first !== '') check.append(h('option', { value: first, selected: true }, first));
  const pause = h('button', { type: 'button', 'aria-pressed': 'false', click: () => {
    paused = !paused;
    pause.setAttribute('aria-pressed', String(paused));
    put(pause, paused ? 'Resume' : 'Pause');
    load();
  } }, 'Pause');
  const more = h('button', { type: 'button', hidden: true, click: () => { wanted += PAGE; load(); } }, 'More');
  const notice = h('p', { class: 'quiet', role: 'status' }, 'Loading …');
  const list = groupList();
  const isId = kindOf(name) === 'id';
  root.append(h('h1', {}, 'Why was a request refused?'), h('div', { class: 'card' },
    h('form', { class: 'row', submit: (event) => {
      event.preventDefault();
      location.hash = box.value.trim() === '' ? '#/why' : `#/why/${encodeURIComponent(box.value.trim())}`;
    } }, h('label', { for: 'what' }, 'Find'), box, h('button', { class: 'main' }, 'Search'),
    ...isId ? [] : [h('label', { for: 'check', class: 'unseen' }, 'Check'), check, pause]), notice), list.whole, more);

  let wanted = PAGE;
  let paused = false;
  let ended = false;
  let timer = 0;
  let asked = 0;
  /** @type {any} */
  let seen = null;

  async function load() {
    clearTimeout(timer);
    if (paused || ended) return;
    const number = ++asked;
    const answer = isId ? await get(`/refusals/${encodeURIComponent(name)}`) : await get(`/refusals/groups?${query()}`);
    if (ended || paused || number !== asked) return;
    if (isMissing(answer)) put(notice, 'Not available: this broker keeps no refusals.');
    else if (answer.status !== 200) put(notice, answer.data.error ?? `status ${answer.status}`);
    else if (isId) { list.update([answer.data]); list.open(); put(notice, '1 found.'); return; }
    else draw(answer.data);
    if (!isId) timer = setTimeout(load, EVERY_MS);
  }

  function query() {
    const place = new URLSearchParams({ limit: String(wanted) });
    if (check.value !== '') place.set('check', check.value);
    const kind = kindOf(name);
    if (kind === 'arn') place.set('channel', partsOf(name).name);
    else if (kind === 'remote') place.set('remote', name.replace(/^(\d+(?:\.\d+){3}):\d+$/, '$1'));
    else if (name !== '') place.set('text', name);
    return place;
  }

  function draw(data) {
    list.update(data.groups);
    more.hidden = data.groups.length >= data.found.groups;
    const checks = [...new Set([check.value, ...data.groups.map((group) => group.check)])].filter((id) => id !== '').sort();
    const known = new Set([...check.options].map((option) => option.value));
    for (const id of checks.filter((one) => !known.has(one))) check.append(h('option', { value: id }, id));
    const all = data.found.refusals === data.refusals - data.others ? '' : ` of ${number(data.refusals)}`;
    const others = data.others > 0 ? ` ${number(data.others)} more, of further channels and keys, were counted only.` : '';
    put(notice, data.found.groups === 0 ? `${name === '' ? 'No refusals.' : 'No refusals match.'}${others}`
      : `${number(data.found.refusals)}${all} refused since the start, in ${count(data.found.groups, 'group')}.${others}`);
  }

  load();
  return {
    update(state) {
      if (state.refusals === null || state.refusals === seen) return;
      seen = state.refusals;
      clearTimeout(timer);
      if (!isId) timer = setTimeout(load, 400);
    },
    end() { ended = true; clearTimeout(timer); },
  };
}
