// What tests use under --dev: messages as they pass, clocks, faults, and what the cloud service would have refused.

import { get, post } from '../api.js';
import { card, h, keyed, put } from '../dom.js';
import { bytes, channelName, clock, number } from '../format.js';
import { faults } from './faults.js';
import { hooks } from './hooks.js';

const KEPT = 500;

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
      put(notice, data.findings.length === 0 ? 'Nothing so far.' : '');
      keyed(list, data.findings, (one) => one.rule, () => h('li', {}, h('b', {}), h('span', {})), (row, one) => {
        put(row.firstElementChild, `${one.rule} × ${number(one.count)} `);
        put(row.lastElementChild, one.says);
      });
    },
  };
}
