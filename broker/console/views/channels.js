// All channels by name, with a search for what names begin with.

import { get } from '../api.js';
import { h, keyed, put, table } from '../dom.js';
import { channelLink, number } from '../format.js';

const PAGE = 100;

export function channels(root, { parameters, node }) {
  const prefix = /** @type {HTMLInputElement} */ (h('input', { type: 'search', id: 'prefix', autocomplete: 'off',
    spellcheck: 'false', maxlength: 256, placeholder: 'begins with …' }));
  prefix.value = parameters.get('prefix') ?? '';
  const rows = table(['Channel', 'Master', '#Viewers', '#Kept', '#Shard'], 'Channels');
  const notice = h('p', { class: 'quiet' }, 'Loading …');
  const more = h('button', { type: 'button', hidden: true, click: () => { wanted += PAGE; load(); } }, 'More');
  root.append(h('h1', {}, 'Channels'), h('div', { class: 'card' },
    h('div', { class: 'row' }, h('label', { for: 'prefix' }, 'Name'), prefix), rows.whole, notice, more));

  let wanted = PAGE;
  let asked = 0;
  let timer = 0;

  async function load() {
    clearTimeout(timer);
    const number = ++asked;
    const found = [];
    let missing = [];
    let token = '';
    let fault = null;
    do {
      const query = new URLSearchParams({ prefix: prefix.value, limit: String(Math.min(1000, wanted - found.length)), token });
      const { status, data } = await get(`/channels?${query}`);
      if (number !== asked) return; // somebody typed on
      if (status !== 200) { fault = data.error ?? `status ${status}`; break; }
      found.push(...data.channels);
      missing = data.missingNodes ?? [];
      token = data.nextToken ?? '';
    } while (token !== '' && found.length < wanted);
    if (fault === null) draw(found, token !== '');
    else put(notice, fault);
    if (fault === null && missing.length > 0) put(notice, `Without the channels of ${missing.join(', ')}: no answer.`);
    notice.hidden = fault === null && found.length > 0 && missing.length === 0;
    timer = setTimeout(load, 5000);
  }

  function draw(found, goesOn) {
    keyed(rows.body, found, (one) => one.arn, make, update);
    more.hidden = !goesOn;
    put(notice, prefix.value === '' ? 'There are no channels yet.' : 'No channel has a name that begins so.');
  }

  function make(one) {
    return h('tr', {}, h('th', { scope: 'row' }, h('a', { href: channelLink(one.arn, node()) }, one.name)),
      h('td', {}, h('span', { class: 'pill' })), h('td', { class: 'number' }), h('td', { class: 'number' }),
      h('td', { class: 'number' }));
  }

  function update(row, one) {
    const [, master, viewers, kept, shard] = row.children;
    put(master.firstElementChild, one.masterConnected ? 'connected' : 'absent');
    master.firstElementChild.className = `pill ${one.masterConnected ? 'good' : 'none'}`;
    [[viewers, one.viewers], [kept, one.pending]].forEach(([cell, count]) => put(cell, number(count)));
    put(shard, one.node === undefined ? number(one.shard) : `${one.node} · ${number(one.shard)}`);
  }

  prefix.addEventListener('input', () => {
    clearTimeout(timer);
    wanted = PAGE;
    timer = setTimeout(load, 250);
  });
  load();
  return { end() { clearTimeout(timer); asked += 1; } };
}
