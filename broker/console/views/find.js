// What has a text in its name: channels, connected viewers, and what was refused.

import { get } from '../api.js';
import { card, h, keyed, put, table } from '../dom.js';
import { channelLink, count, kindOf } from '../format.js';
import { groupList } from './refused.js';

/** Of each kind. */
const SHOWN = 20;

export function find(root, { name, node }) {
  const channels = table(['Channel', 'Master', '#Viewers', 'By'], 'Channels');
  const all = h('a', { href: `#/channels?contains=${encodeURIComponent(name)}`, hidden: true }, 'All of them');
  const refused = groupList();
  const everyRefusal = h('a', { href: `#/why/${encodeURIComponent(name)}`, hidden: true }, 'All of them');
  const notice = h('p', { class: 'quiet', role: 'status' }, 'Loading …');
  const known = card('Channels and viewers', channels.whole, all);
  const refusals = h('section', { class: 'stack' }, h('h2', {}, 'Refused'), refused.whole, everyRefusal);
  known.hidden = true;
  refusals.hidden = true;
  root.append(h('h1', {}, `Find: ${name}`), notice, known, refusals);
  let ended = false;

  async function load() {
    const place = (more) => new URLSearchParams({ limit: String(SHOWN), ...more });
    const address = kindOf(name) === 'remote' ? name.replace(/^(\d+(?:\.\d+){3}):\d+$/, '$1') : name;
    const [named, having, groups] = await Promise.all([get(`/channels?${place({ contains: name })}`),
      get(`/channels?${place({ client: name })}`), get(`/refusals/groups?${place({ text: address })}`)]);
    if (ended) return;
    const rows = [...(having.data.channels ?? []).map((one) => ({ ...one, by: `viewer ${name}`, client: name })),
      ...(named.data.channels ?? []).map((one) => ({ ...one, by: 'name', client: null }))];
    keyed(channels.body, rows, (one) => `${one.arn} ${one.by}`, make, () => {});
    known.hidden = rows.length === 0;
    all.hidden = !named.data.nextToken;
    const found = groups.data.groups ?? [];
    refused.update(found);
    refusals.hidden = found.length === 0;
    everyRefusal.hidden = (groups.data.found?.groups ?? 0) <= found.length;
    const failed = [named, having, groups].find((answer) => answer.status !== 200);
    put(notice, failed ? failed.data.error ?? `status ${failed.status}`
      : rows.length + found.length === 0 ? 'No channel, connected viewer or refusal has this in its name.'
        : `${count(rows.length, 'channel')}${named.data.nextToken ? ' shown' : ''}, ${count(groups.data.found.groups, 'kind')} of refusal.`);
  }

  function make(one) {
    const link = channelLink(one.arn, node());
    const of = one.client === null ? '' : `${link.includes('?') ? '&' : '?'}client=${encodeURIComponent(one.client)}`;
    return h('tr', {}, h('th', { scope: 'row' }, h('a', { href: link + of }, one.name)),
      h('td', {}, h('span', { class: `pill ${one.masterConnected ? 'good' : 'none'}` }, one.masterConnected ? 'connected' : 'absent')),
      h('td', { class: 'number' }, one.viewers), h('td', {}, one.by));
  }

  load();
  return { end() { ended = true; } };
}
