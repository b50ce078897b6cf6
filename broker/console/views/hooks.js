// The receivers of events, and a way to test each of them.

import { get, post } from '../api.js';
import { card, h, keyed, put } from '../dom.js';
import { number } from '../format.js';

export function hooks() {
  const list = h('ul', {});
  const notice = h('p', { class: 'quiet' }, 'Loading …');
  const whole = card('Hooks', notice, list);
  whole.id = 'hooks';
  return {
    whole,
    async load() {
      const { status, data } = await get('/hooks');
      if (status !== 200) { put(notice, data.error ?? `status ${status}`); return; }
      put(notice, data.hooks.length === 0 ? 'No hooks configured ([[hook]]).' : 'Test sends an event of type hook.test to the receiver.');
      keyed(list, data.hooks, (one) => one.name, hook, update);
    },
  };
}

function hook(one) {
  const answer = h('span', { class: 'quiet', role: 'status' });
  const send = async () => {
    put(answer, ' sending …');
    const { status, data } = await post(`/hooks/${encodeURIComponent(one.name)}/test`);
    put(answer, status === 200 && data.delivered ? ' delivered' : ` not delivered: ${data.error ?? `status ${status}`}`);
  };
  return h('li', {}, h('b', {}, one.name), h('span', {}), h('button', { type: 'button', class: 'small', click: send }, 'Test'), answer);
}

function update(row, one) {
  const delivered = one.deliveries?.delivered ?? 0;
  put(row.children[1], ` ${one.state}, ${number(delivered)} delivered, ${number(one.waiting)} waiting${one.lastError ? `: ${one.lastError}` : ''} `);
}
