// What tests use under --dev: messages as they pass, clocks, faults, and what the cloud service would have refused.

import { get, post, remove } from '../api.js';
import { card, h, keyed, put, table } from '../dom.js';
import { bytes, channelName, clock, number } from '../format.js';

const KEPT = 500;

export function dev(root) {
  const parts = [messages(), clocks(), faults(), parity()];
  root.append(h('h1', {}, 'Test double'),
    h('p', { class: 'quiet' }, 'Everything here exists under --dev only, and has an HTTP interface for tests.'),
    ...parts.map((part) => part.whole));
  let ended = false;
  let timer = 0;
  async function load() {
    await Promise.all(parts.map((part) => part.load()));
    if (!ended) timer = setTimeout(load, 1000);
  }
  load();
  return { end() { ended = true; clearTimeout(timer); } };
}

function messages() {
  const list = h('div', { class: 'messages' });
  const notice = h('p', { class: 'quiet' }, 'Loading …');
  let after = 0;
  let all = [];
  return {
    whole: card('Messages', notice, list),
    async load() {
      const { status, data } = await get(`/dev/messages?after=${after}&limit=200`);
      if (status !== 200) { put(notice, status === 404 ? 'Not available.' : data.error); return; }
      all = [...data.messages.toReversed(), ...all].slice(0, KEPT);
      after = data.next;
      put(notice, all.length === 0 ? 'None since the start.' : `The newest ${number(all.length)}, the newest first.`);
      keyed(list, all, (one) => String(one.seq), message, () => {});
    },
  };
}

function message(one) {
  const sdp = one.sdp === null ? null : `${(one.sdp.media ?? []).join(', ')}; ${number(one.sdp.candidates)} candidates, `
    + `${number(one.sdp.characters)} characters`;
  const about = sdp ?? (one.candidate === null ? '' : `${one.candidate.type} ${one.candidate.protocol}`);
  return h('details', { class: 'message' },
    h('summary', {}, h('span', { class: 'quiet' }, clock(Date.parse(one.at))), h('b', {}, one.action ?? 'unknown'),
      h('span', {}, `${one.from ?? '–'} → ${one.to ?? '–'}`), h('span', { class: 'quiet' }, `${channelName(one.channel)}, ${bytes(one.bytes)}`),
      h('span', { class: `pill ${one.outcome === 'delivered' ? 'good' : 'warn'}` }, one.outcome)),
    about === '' ? null : h('p', {}, about),
    h('pre', { tabindex: '0' }, typeof one.payload === 'string' ? one.payload : JSON.stringify(one.payload, null, 2)));
}

function clocks() {
  const text = h('p', {}, 'Loading …');
  const buttons = [['60s', '1 min'], ['600s', '10 min'], ['3600s', '1 h']].map(([advance, label]) =>
    h('button', { type: 'button', click: async () => {
      const { status, data } = await post('/dev/clock', { advance });
      put(text, status === 200 ? said(data) : data.error ?? `status ${status}`);
    } }, `+ ${label}`));
  return {
    whole: card('Clock', text, h('div', { class: 'row' }, ...buttons)),
    async load() {
      const { status, data } = await get('/dev/clock');
      buttons.forEach((button) => { button.hidden = status === 404; });
      put(text, status === 200 ? said(data) : status === 404 ? 'Not available.' : data.error);
    },
  };
}

function said(data) {
  return `${data.now}, advanced by ${data.advanced}, calendar skewed by ${data.wallSkew}`;
}

function faults() {
  const rows = table(['Fault', 'Matches', 'Does', '#Hits', ''], 'Faults');
  const notice = h('p', { class: 'quiet', role: 'status' }, 'Loading …');
  const text = /** @type {HTMLTextAreaElement} */ (h('textarea', { id: 'fault', rows: 3, spellcheck: 'false' }));
  text.value = '{"on":"connect","match":{"role":"viewer"},"do":{"throttle":{}},"times":1}';
  const form = h('form', { class: 'stack', submit: async (event) => {
    event.preventDefault();
    let fault;
    try { fault = JSON.parse(text.value); } catch (error) { put(notice, `not JSON: ${error.message}`); return; }
    const { status, data } = await post('/dev/faults', fault);
    put(notice, status === 201 ? `${data.id} is set.` : data.error ?? `status ${status}`);
  } }, h('label', { for: 'fault' }, 'A new fault, as JSON'), text, h('div', { class: 'row' }, h('button', { class: 'main' }, 'Set')));
  return {
    whole: card('Faults', rows.whole, form, notice),
    async load() {
      const { status, data } = await get('/dev/faults');
      form.hidden = status !== 200;
      rows.whole.hidden = status !== 200 || data.faults.length === 0;
      if (status !== 200) { put(notice, status === 404 ? 'Not available.' : data.error); return; }
      if (notice.textContent === 'Loading …') put(notice, '');
      keyed(rows.body, data.faults, (one) => one.id, (one) => h('tr', {}, h('th', { scope: 'row' }, `${one.id} on ${one.on}`),
        h('td', {}, h('code', {}, JSON.stringify(one.match ?? {}))), h('td', {}, h('code', {}, JSON.stringify(one.do ?? {}))),
        h('td', { class: 'number' }), h('td', {}, h('button', { type: 'button', class: 'small',
          click: () => remove(`/dev/faults/${encodeURIComponent(one.id)}`) }, 'Remove'))),
      (row, one) => put(row.children[3], number(one.hits)));
    },
  };
}

function parity() {
  const list = h('ul', {});
  const notice = h('p', { class: 'quiet' }, 'Loading …');
  return {
    whole: card('What the cloud service would have refused', notice, list),
    async load() {
      const { status, data } = await get('/dev/parity');
      if (status !== 200) { put(notice, status === 404 ? 'Not available.' : data.error); return; }
      put(notice, data.findings.length === 0 ? 'Nothing so far.' : '');
      keyed(list, data.findings, (one) => one.rule, () => h('li', {}, h('b', {}), h('span', {})), (row, one) => {
        put(row.firstElementChild, `${one.rule} × ${number(one.count)} `);
        put(row.lastElementChild, one.says);
      });
    },
  };
}
