// Why a request was refused: found by request id, channel, client, key or address.

import { get, isMissing } from '../api.js';
import { h, keyed, put } from '../dom.js';
import { clock, kindOf, number, partsOf } from '../format.js';

export function why(root, { name, parameters }) {
  const box = /** @type {HTMLInputElement} */ (h('input', { type: 'search', id: 'what', autocomplete: 'off', spellcheck: 'false',
    maxlength: 400, placeholder: 'request id, channel, ARN, client id, access key id or address' }));
  box.value = name;
  const list = h('div', { class: 'refusals' });
  const notice = h('p', { class: 'quiet', role: 'status' }, 'Loading …');
  const title = parameters.get('check') === null ? 'Why was a request refused?' : `Refusals: ${parameters.get('check')}`;
  root.append(h('h1', {}, title), h('div', { class: 'card' },
    h('form', { class: 'row', submit: (event) => {
      event.preventDefault();
      location.hash = `#/why/${encodeURIComponent(box.value.trim())}`;
    } }, h('label', { for: 'what' }, 'Find'), box, h('button', { class: 'main' }, 'Search')), notice), list);
  const check = parameters.get('check');
  const kind = name === '' ? 'all' : kindOf(name);
  const searches = kind !== 'all' || check !== null;
  let ended = false;
  let timer = 0;
  let dropped = 0;
  /** @type {any} */
  let shown = null;

  /** What the stream brings: all of them. */
  function draw() {
    timer = 0;
    fill(shown.refusals, shown);
    if (dropped > 0) notice.append(` ${number(dropped)} came too fast to be shown.`);
  }

  function fill(found, { since, suppressed }) {
    const once = [...new Map(found.map((one) => [one.requestId, one])).values()];
    once.sort((a, b) => Date.parse(b.at) - Date.parse(a.at));
    keyed(list, once.slice(0, 200), (one) => one.requestId, make, () => {});
    if (searches && once.length === 1) list.querySelector('details')?.setAttribute('open', '');
    const from = since ? ` since ${clock(Date.parse(since))}` : '';
    const left = suppressed ? `; ${number(suppressed)} more were counted and not kept` : '';
    put(notice, once.length > 0 ? `${number(once.length)} found${from}${left}.` : `No refusal is known${from}${left}.`);
  }

  /** What is looked for. */
  async function load() {
    timer = 0;
    const found = [];
    let last = null;
    for (const path of pathsFor(kind, name, check)) {
      last = await get(path);
      if (last.status === 200) found.push(...(last.data.refusals ?? [last.data]));
    }
    if (ended || last === null) return;
    if (isMissing(last)) { put(notice, 'Not available: this broker keeps no refusals.'); return; }
    fill(found, last.data);
    if (found.length === 0 && last.status !== 200) put(notice, last.data.error ?? `status ${last.status}`);
  }

  if (searches) load();
  return {
    update(state) {
      if (state.refusals === null || (state.refusals === shown && state.dropped === dropped)) return;
      ({ refusals: shown, dropped } = state);
      // Of a search it is asked again: what came may be what is looked for. An id is found at once or never.
      if (searches && kind === 'id') return;
      if (timer === 0) timer = searches ? setTimeout(load, 500) : setTimeout(draw, 100);
    },
    end() { ended = true; clearTimeout(timer); },
  };
}

function pathsFor(kind, text, check) {
  const with_ = (key, value) => `/refusals?limit=200&${key}=${encodeURIComponent(value)}`;
  switch (kind) {
    case 'all': return [check === null ? '/refusals?limit=200' : with_('check', check)];
    case 'id': return [`/refusals/${encodeURIComponent(text)}`];
    case 'arn': return [with_('channel', partsOf(text).name)];
    case 'key': return [with_('key', text)];
    case 'remote': return [with_('remote', text.replace(/^(\d+(?:\.\d+){3}):\d+$/, '$1'))];
    default: return [with_('channel', text), with_('client', text)];
  }
}

function make(one) {
  const facts = [['Request id', one.requestId], ['Operation', one.operation], ['Channel', one.channel], ['Client id', one.clientId],
    ['Principal', one.principal], ['Access key', one.keyId], ['Address', one.remote], ['Shard', one.shard],
    ['Fault', one.fault], ['Clock of the caller', one.clockSkewSeconds ? `${number(one.clockSkewSeconds)} s off` : null]];
  const known = facts.filter(([, value]) => value !== null && value !== undefined);
  const request = h('pre', { tabindex: '0', role: 'region', 'aria-label': 'The request as it was signed', hidden: true });
  return h('details', { class: 'card refusal', toggle: () => explain(one.requestId, request) },
    h('summary', {}, h('span', { class: 'quiet' }, one.at ? clock(Date.parse(one.at)) : ''), h('code', { class: 'pill bad' }, one.check ?? ''),
      h('span', { class: 'says' }, one.says ?? one.errorType ?? '')),
    one.do ? h('p', { class: 'do' }, one.do) : null,
    h('dl', { class: 'facts' }, ...known.map(([label, value]) => h('div', {}, h('dt', {}, label), h('dd', {}, value)))),
    h('p', { class: 'quiet' }, `Answered with ${one.status ?? '–'} ${one.errorType ?? ''}`),
    request);
}

/** Shows the request as the broker saw it, once somebody wants to see it. */
async function explain(id, request) {
  if (request.textContent !== '') return;
  const { status, data } = await get(`/refusals/${encodeURIComponent(id)}`);
  const text = status === 200 ? data.explain?.canonicalRequest : null;
  request.hidden = !text;
  put(request, text ?? '');
}
