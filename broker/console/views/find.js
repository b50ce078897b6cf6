// What has a text in its name: channels, connected viewers, sessions that did not go well, and what was refused.

import { get } from '../api.js';
import { card, h, keyed, put, table } from '../dom.js';
import { channelLink, count, kindOf } from '../format.js';
import { drawTroubled, grouped } from './now.js';
import { groupList } from './refused.js';

/** Of each kind. */
const SHOWN = 20;

export function find(root, { name, node }) {
  const channels = table(['Channel', 'Camera', '#Viewers', 'By'], 'Channels');
  const all = h('a', { href: `#/channels?contains=${encodeURIComponent(name)}`, hidden: true }, 'All of them');
  const refused = groupList();
  const everyRefusal = h('a', { href: `#/why/${encodeURIComponent(name)}`, hidden: true }, 'All of them');
  const notice = h('p', { class: 'quiet', role: 'status' }, 'Loading …');
  const known = card('Channels and viewers', channels.whole, all);
  const troubled = h('div', { class: 'troubled' });
  const troubles = card('Sessions in trouble', troubled);
  troubles.hidden = true;
  const refusals = h('section', { class: 'stack' }, h('h2', {}, 'Refused'), refused.whole, everyRefusal);
  known.hidden = true;
  refusals.hidden = true;
  root.append(h('h1', {}, `Find: ${name}`), notice, known, troubles, refusals);
  let ended = false;

  async function load() {
    const place = (more) => new URLSearchParams({ limit: String(SHOWN), ...more });
    const address = kindOf(name) === 'remote' ? name.replace(/^(\d+(?:\.\d+){3}):\d+$/, '$1') : name;
    const [named, having, groups, now] = await Promise.all([get(`/channels?${place({ contains: name })}`),
      get(`/channels?${place({ client: name })}`), get(`/refusals/groups?${place({ text: address })}`), get('/overview')]);
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
    const own = (now.data.troubled ?? []).filter((one) => ofName(one, address));
    drawTroubled(troubled, own);
    const sessions = grouped(own);
    troubles.hidden = sessions.length === 0;
    const failed = [named, having, groups].find((answer) => answer.status !== 200);
    put(notice, failed ? failed.data.error ?? `status ${failed.status}`
      : rows.length + found.length + sessions.length === 0 ? 'Nothing found: no channel, viewer or refusal matches.'
        : `${count(rows.length, 'channel')}${named.data.nextToken ? ' shown' : ''}, ${count(sessions.length, 'kind')} of trouble, ${count(groups.data.found.groups, 'kind')} of refusal.`);
  }

  /** Whether a troubled session has the text in a name of it, or in its address. */
  function ofName({ channel, clientId, remote, trouble }, part) {
    return [channel, clientId, remote, trouble].some((it) => it?.toLowerCase().includes(part.toLowerCase()));
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
