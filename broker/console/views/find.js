// Everything that has a text in its name: channels, connected viewers, sessions that did not go well, and refusals.

import { get } from '../api.js';
import { card, h, keyed, put, table } from '../dom.js';
import { channelLink, count, kindOf, stamp } from '../format.js';
import { problemList } from './now.js';
import { groupList } from './refused.js';

/** Maximum number of results of each kind. */
const SHOWN = 20;

export function find(root, { name, node }) {
  const channels = table(['Channel', 'Camera', '#Viewers', 'By'], 'Channels');
  const all = h('a', { href: `#/channels?contains=${encodeURIComponent(name)}`, hidden: true }, 'All of them');
  const refused = groupList();
  const everyRefusal = h('a', { href: `#/why/${encodeURIComponent(name)}`, hidden: true }, 'All of them');
  const notice = h('p', { class: 'quiet', role: 'status' }, 'Loading …');
  const known = card('Channels and viewers', channels.whole, all);
  const problems = problemList(node);
  const troubled = h('ul', { class: 'problems', role: 'list', 'aria-label': 'Sessions in trouble' });
  const troubles = card('Problems', problems.whole, troubled);
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
    const wrong = (now.data.problems ?? []).filter((one) => JSON.stringify([one.title, one.check, one.cause, one.members]).toLowerCase().includes(address.toLowerCase()));
    problems.update(wrong.slice(0, SHOWN));
    keyed(troubled, own.slice(0, SHOWN), (one) => `${one.channel} ${one.clientId} ${one.trouble} ${one.at}`, session, () => {});
    const troubleCount = wrong.length + own.length;
    troubles.hidden = troubleCount === 0;
    const failed = [named, having, groups].find((answer) => answer.status !== 200);
    put(notice, failed ? failed.data.error ?? `status ${failed.status}`
      : rows.length + found.length + troubleCount === 0 ? 'Nothing found: no channel, viewer or refusal matches.'
        : `${count(rows.length, 'channel')}${named.data.nextToken ? ' shown' : ''}, ${count(troubleCount, 'problem')}, ${count(groups.data.found.groups, 'kind')} of refusal.`);
  }

  /** Returns whether a troubled session contains the text in a name or in its address. */
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
  return { end() { ended = true; problems.end(); } };
}

/** Shows a session that did not go well, with a link to its trace. */
function session(one) {
  const client = one.clientId === null ? '' : `?client=${encodeURIComponent(one.clientId)}`;
  return h('li', { class: 'trouble' }, h('a', { href: `#/channels/${encodeURIComponent(one.channel)}${client}` }, `${one.channel} / ${one.clientId ?? 'camera'}`), ' ',
    h('code', { class: 'pill bad' }, one.trouble), ` ${one.says}`, h('span', { class: 'quiet' }, ` ${stamp(Date.parse(one.at))}`));
}
