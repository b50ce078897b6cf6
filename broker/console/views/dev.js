// Tools for tests, under --dev: messages as they pass, clocks, faults, and what the cloud service would have refused.

import { get, post } from '../api.js';
import { card, h, keyed, put } from '../dom.js';
import { bytes, channelName, clock, count, number } from '../format.js';
import { faults } from './faults.js';
import { hooks } from './hooks.js';

/** Maximum number of messages shown. */
const SHOWN = 500;
/** Messages per response, and maximum number of responses in a row. Together, they exceed what the broker keeps. */
const [PAGE, PAGES_MAX] = [1000, 4];

export function dev(root) {
  const parts = [messages(), clocks(), faults(), hooks(), parity()];
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
  const notice = h('p', { class: 'quiet', role: 'status' }, 'Loading …');
  const text = /** @type {HTMLInputElement} */ (h('input', { type: 'search', id: 'message-text', autocomplete: 'off', spellcheck: 'false',
    placeholder: 'channel, client, message, payload', input: () => { after = 0; found = []; } }));
  let after = 0;
  /** @type {any[]} */
  let found = [];

  /** Reads until the newest message. However many arrive in a second, the last ones are shown. */
  async function read() {
    const wanted = text.value.toLowerCase();
    for (let pages = 0; pages < PAGES_MAX; pages += 1) {
      const { status, data } = await get(`/dev/messages?after=${after}&limit=${PAGE}`);
      if (status !== 200) return status === 404 ? 'Not available.' : data.error;
      if (wanted !== text.value.toLowerCase()) return null;
      found = [...data.messages.filter((one) => has(one, wanted)).toReversed(), ...found].slice(0, SHOWN);
      after = data.next;
      if (data.messages.length < PAGE) break;
    }
    return wanted !== '' ? `${count(found.length, 'message')} found, the newest first.`
      : found.length === 0 ? 'No messages since the start.' : `The newest ${number(found.length)}, the newest first.`;
  }

  return {
    whole: card('Messages', h('div', { class: 'row' }, h('label', { for: 'message-text' }, 'Find'), text), notice, list),
    async load() {
      const says = await read();
      if (says === null) return;
      put(notice, says);
      keyed(list, found, (one) => String(one.seq), message, () => {});
    },
  };
}

/** Returns whether the names or the payload of a message contain a text. */
function has({ channel, action, from, to, outcome, payload }, text) {
  const parts = [channelName(channel), action, from, to, outcome, typeof payload === 'string' ? payload : JSON.stringify(payload)];
  return text === '' || parts.some((part) => part?.toLowerCase().includes(text));
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
    h('pre', { tabindex: '0', role: 'region', 'aria-label': 'Payload' }, typeof one.payload === 'string' ? one.payload : JSON.stringify(one.payload, null, 2)));
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

function parity() {
  const list = h('ul', {});
  const notice = h('p', { class: 'quiet' }, 'Loading …');
  return {
    whole: card('What the cloud service would have refused', notice, list),
    async load() {
      const { status, data } = await get('/dev/parity');
      if (status !== 200) { put(notice, status === 404 ? 'Not available.' : data.error); return; }
      put(notice, data.findings.length === 0 ? 'No findings.' : '');
      keyed(list, data.findings, (one) => one.rule, () => h('li', {}, h('b', {}), h('span', {})), (row, one) => {
        put(row.firstElementChild, `${one.rule} × ${number(one.count)} `);
        put(row.lastElementChild, one.says);
      });
    },
  };
}
