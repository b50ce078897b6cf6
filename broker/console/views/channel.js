// One channel: who is connected, what is pending, what has happened, and a way to close connections.

import { get, isMissing, post } from '../api.js';
import { card, copier, h, keyed, put, table } from '../dom.js';
import { ago, bytes, channelPath, count, isName, number, offset, span } from '../format.js';
import { groupList } from './refused.js';
import { timeline } from './timeline.js';

export function channel(root, { name, parameters }) {
  const place = new URLSearchParams();
  for (const key of ['region', 'account']) {
    const value = parameters.get(key);
    if (value !== null) place.set(key, value);
  }
  const path = channelPath(name);
  const query = place.size > 0 ? `?${place}` : '';
  const client = parameters.get('client');

  let arn = '';
  const facts = h('p', { class: 'quiet' }, 'Loading …');
  const master = h('dl', { class: 'facts' });
  const failed = h('a', { href: '#/why/tls_' });
  const misspelt = h('a', { href: '#/why?check=channel_absent' });
  const elsewhere = h('span', { hidden: true }, ' No refusals of this channel. A device that cannot reach it may be among ', failed,
    ', which name no channel, or ', misspelt, ' for channels that do not exist.');
  const nobody = h('p', { class: 'quiet' }, 'No camera is connected.', elsewhere);
  const awaiting = table(['Waiting', 'For', 'Message', 'Expires in'], 'Viewers waiting for the camera');
  const further = h('p', { class: 'quiet' });
  const viewers = table(['Viewer', 'Address', 'Connected', '#In', '#Out', 'Last frame', '#Outbox', 'Disconnect'], 'Viewers');
  const waiting = table(['From', 'To', 'Messages', '#Size', 'Oldest'], 'Queued messages');
  const noViewers = h('p', { class: 'quiet' }, 'No viewer is connected.');
  const nothing = h('p', { class: 'quiet' }, 'No queued messages.');
  const trace = timeline();
  const only = h('p', { class: 'row', hidden: client === null }, `Only ${client} is shown.`,
    h('a', { href: `#/channels/${encodeURIComponent(name)}${query}` }, 'Show all viewers'));
  const gone = h('p', { class: 'notice', hidden: true });
  const end = h('button', { type: 'button', class: 'danger', click: () => ask({ role: 'all' }, 'every connection of') }, 'Disconnect …');
  const refused = groupList();
  const refusals = h('section', { class: 'stack', hidden: true }, h('h2', {}, 'Refused'), refused.whole);
  const content = h('div', { class: 'stack' }, h('div', { class: 'halves' }, card('Camera', master, nobody, awaiting.whole, further), card('Queued messages', waiting.whole, nothing)),
    card('Viewers', viewers.whole, noViewers), card('Sessions', only, trace.whole));
  const dialog = /** @type {HTMLDialogElement} */ (h('dialog', { 'aria-label': 'Disconnect' }));
  const copy = copier('Copy ARN', () => arn);
  copy.hidden = true;
  const save = h('span', { class: 'row' }, copier('Copy sessions as JSON', () => JSON.stringify(sessions, null, 2)),
    copier('as HAR', async () => (await get(`${path}/trace?${place}&format=har`)).text));
  const sentence = h('p', { class: 'lead', hidden: true });
  root.append(h('div', { class: 'row title' }, h('h1', {}, name), copy, save, end), sentence, facts, gone, refusals, content, dialog);

  /** Whether it is unknown if a master is connected. */
  let unseen = false;
  /** @type {any} */
  let last = null;
  /** @type {any} */
  let sessions = null;
  let timer = 0;
  let ended = false;

  let later = 0;
  async function loadRefusals() {
    clearTimeout(later);
    const { status, data } = await get(`/refusals/groups?channel=${encodeURIComponent(name)}`);
    if (ended) return;
    if (status === 200) refused.update(data.groups);
    refusals.hidden = status !== 200 || data.groups.length === 0;
    if (refusals.hidden && unseen) {
      const known = await Promise.all(['text=tls_', 'check=channel_absent'].map((of) => get(`/refusals/groups?${of}&limit=1`)));
      if (ended) return;
      const [handshakes, absent] = known.map(({ data }) => data.found?.refusals ?? 0);
      put(failed, count(handshakes, 'failed handshake'));
      put(misspelt, count(absent, 'refusal'));
      elsewhere.hidden = handshakes + absent === 0;
    } else {
      elsewhere.hidden = true;
    }
    later = setTimeout(loadRefusals, 5000);
  }

  async function loadTrace() {
    clearTimeout(timer);
    const wanted = new URLSearchParams(place);
    if (client !== null) wanted.set('client', client);
    const width = trace.width();
    wanted.set('width', String(width));
    wanted.set('zone', String(offset()));
    const answer = await get(`${path}/trace?${wanted}`);
    if (ended) return;
    unseen = answer.data.master?.length === 0;
    if (answer.status === 200) { sessions = answer.data; trace.update(sessions); }
    else trace.absent(isMissing(answer) ? 'Not available: this broker records no session traces.' : answer.data.error);
    // The first drawing can be given its actual width only now.
    if (!isMissing(answer)) timer = setTimeout(loadTrace, trace.width() === width ? 2000 : 0);
  }

  function ask(body, what) {
    const typed = /** @type {HTMLInputElement} */ (h('input', { id: 'typed', autocomplete: 'off', spellcheck: 'false' }));
    const go = h('button', { class: 'danger', disabled: true }, 'Disconnect');
    const result = h('p', { role: 'status' });
    typed.addEventListener('input', () => go.toggleAttribute('disabled', typed.value !== name));
    dialog.replaceChildren(h('form', { submit: async (event) => {
      event.preventDefault();
      const { status, data } = await post(`${path}/disconnect${query}`, body);
      put(result, status === 200 ? `${data.connections} closed.` : data.error ?? `status ${status}`);
      if (status === 200) setTimeout(() => dialog.close(), 1200);
    } }, h('h2', {}, `Disconnect ${what} ${name}?`),
    h('p', {}, 'Clients are closed with code 1001 and usually reconnect at once.'),
    h('label', { for: 'typed' }, 'Type the name of the channel'), typed,
    h('div', { class: 'row' }, go, h('button', { type: 'button', click: () => dialog.close() }, 'Cancel')), result));
    dialog.showModal();
  }

  function draw(state) {
    const it = state.channel;
    const known = it !== null;
    gone.hidden = !known || it.channel !== null;
    content.hidden = !known || it.channel === null;
    end.hidden = content.hidden;
    copy.hidden = content.hidden;
    save.hidden = content.hidden || sessions === null;
    sentence.hidden = save.hidden;
    if (!known) return;
    facts.hidden = it.channel === null;
    if (it.channel === null) {
      if (absent(it.error)) gone.replaceChildren('There is no such channel in this account and region. ', h('a', { href: `#/channels?contains=${encodeURIComponent(name)}` }, 'Search all channels'));
      else put(gone, it.error);
      return;
    }
    const found = it.channel;
    const age = (Date.now() - it.at) / 1000;
    arn = found.arn;
    if (sessions !== null) put(sentence, sessions.sentence ?? '');
    const node = found.node === undefined ? '' : `node ${found.node} · `;
    put(facts, `${found.arn} · ${node}shard ${found.shard} · messages expire after ${found.messageTtlSeconds} s`
      + (found.superseded > 0 ? ` · ${found.superseded} superseded` : '')
      + (found.waitingCalls > 0 ? ` · ${found.waitingCalls} Alexa calls waiting` : ''));
    nobody.hidden = found.master !== null;
    const lines = found.master === null ? [] : peer(found.master, age);
    const doubtful = found.presence?.master?.doubtfulSince;
    if (doubtful) lines.push(['Doubtful for', span(Math.max(0, ago(doubtful)))]);
    keyed(master, lines, ([label]) => label, ([label]) => h('div', {}, h('dt', {}, label), h('dd')),
      (row, [, value]) => put(row.lastElementChild, value));
    drawAwaiting(found.presence);
    keyed(viewers.body, found.viewers, (one) => one.clientId, makeViewer, (row, one) => {
      const cells = [...row.children];
      const texts = [one.clientId, address(one), span(ago(one.connectedAt)), number(one.messagesIn), number(one.messagesOut),
        span(one.lastFrameAgeSeconds + age), outbox(one)];
      texts.forEach((text, column) => put(cells[column], text));
    });
    noViewers.hidden = found.viewers.length > 0;
    viewers.whole.hidden = found.viewers.length === 0;
    const kept = folded(found.pending);
    keyed(waiting.body, kept, (one) => `${one.from} ${one.to}`,
      () => h('tr', {}, h('th', { scope: 'row' }), h('td'), h('td', { class: 'wraps' }), h('td', { class: 'number' }), h('td')),
      (row, one) => [one.from, one.to, one.actions, bytes(one.bytes), span(one.ageSeconds + age)]
        .forEach((text, column) => put(row.children[column], text)));
    nothing.hidden = kept.length > 0;
    waiting.whole.hidden = kept.length === 0;
  }

  /** Shows who is waiting for a master, and how long their messages are kept. */
  function drawAwaiting(presence) {
    const waits = presence?.waiting ?? [];
    awaiting.whole.hidden = waits.length === 0;
    const more = presence?.waitingMore ?? 0;
    further.hidden = more === 0;
    put(further, `${count(more, 'more viewer')}.`);
    keyed(awaiting.body, waits, (one) => `${one.clientId} ${one.action}`, () => h('tr', {}, h('th', { scope: 'row' }), h('td'), h('td'), h('td', {}, h('span', { class: 'pill' }))),
      (row, one) => {
        const [who, since, what, left] = row.children;
        [[who, one.clientId], [since, span(Math.max(0, ago(one.since)))], [what, one.action]].forEach(([cell, text]) => put(cell, text));
        const seconds = Math.max(0, Math.ceil(-ago(one.expiresAt)));
        put(left.firstElementChild, `${seconds} s`);
        left.firstElementChild.className = `pill ${seconds > 10 ? 'warn' : 'bad'}`;
      });
  }

  function makeViewer(one) {
    const button = h('button', { type: 'button', class: 'small', 'aria-label': `Disconnect ${one.clientId}`,
      click: () => ask({ clientId: one.clientId, role: 'viewer' }, `viewer ${one.clientId} of`) }, 'Disconnect …');
    return h('tr', {}, h('th', { scope: 'row' }), h('td'), h('td'), h('td', { class: 'number' }), h('td', { class: 'number' }),
      h('td'), h('td', { class: 'number' }), h('td', {}, button));
  }

  if (isName(name)) {
    loadTrace().then(loadRefusals);
  } else {
    loadRefusals();
    draw({ channel: { channel: null, error: 'A channel has a name of 1 to 256 characters of [a-zA-Z0-9_.-].' } });
  }
  const every = setInterval(() => { if (last !== null) draw(last); }, 1000);
  return {
    update(state) { if (isName(name)) { last = state; draw(state); } },
    end() { ended = true; clearTimeout(timer); clearTimeout(later); clearInterval(every); },
  };
}

/**
 * Returns whether an error means that the channel does not exist. The text of the error is meant for users of the API.
 */
const absent = (error) => String(error).startsWith('no such channel');

/**
 * Groups pending messages by sender and recipient. Each group has the number of messages by action, their size, and the
 * age of the oldest. Pure.
 */
export function folded(pending) {
  const ends = new Map();
  for (const one of pending) {
    const key = `${one.from} ${one.to}`;
    const of = ends.get(key) ?? { from: one.from, to: one.to, counts: new Map(), bytes: 0, ageSeconds: 0 };
    of.counts.set(one.action, (of.counts.get(one.action) ?? 0) + 1);
    of.bytes += one.bytes;
    of.ageSeconds = Math.max(of.ageSeconds, one.ageSeconds);
    ends.set(key, of);
  }
  const words = ([action, count]) => (count === 1 ? action : `${number(count)} × ${action}`);
  return [...ends.values()].map(({ counts, ...of }) => ({ ...of, actions: [...counts].map(words).join(', ') }));
}

function address(peer) {
  return `${peer.remote}${peer.tls ? ' TLS' : ''}`;
}

function peer(one, age) {
  return [['Address', address(one)], ['Connected for', span(ago(one.connectedAt))],
    ['Messages', `${number(one.messagesIn)} in, ${number(one.messagesOut)} out`],
    ['Last frame', `${span(one.lastFrameAgeSeconds + age)} ago`], ['Outbox', outbox(one)]];
}

/** Describes what is queued for a connection, and what was sent but is not confirmed yet. */
function outbox(peer) {
  const sent = peer.unconfirmedBytes > 0 ? `, ${bytes(peer.unconfirmedBytes)} not confirmed` : '';
  return `${bytes(peer.outboxBytes)}${sent}`;
}
