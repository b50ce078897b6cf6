// What is wrong at this moment: one list of rows, each with its number, since when, what to do, and a link.

import { get } from '../api.js';
import { h, keyed, put } from '../dom.js';
import { ago, bytes, channelLink, channelName, clock, count, number, span } from '../format.js';

/** Rows of one kind before somebody asks for all, fewer on a phone. */
const SHOWN = matchMedia('(max-width: 40rem)').matches ? 3 : 5;
/** Refusals and channels asked for. */
const ASKED = 200;
/** Refusals count this long after the last one. */
const LATELY_S = 15 * 60;
/** Between two looks at refusals, and at what changes slowly. */
const [EVERY_MS, SELDOM_MS] = [5000, 15_000];
const DAY_S = 86_400;
/** A certificate that ends sooner is a problem. */
const CERTIFICATE_S = 30 * DAY_S;
/** Less free space than this is a problem. */
const DISK_BYTES = 1024 ** 3;

/** What to do about a session in trouble. */
const REMEDIES = {
  unanswered: 'Check that the camera is connected and answers offers.',
  slow: 'Check the load and the network of the camera.',
  no_candidates: 'Let the camera send its candidates, or put them into its answer.',
  cut_off: 'Correct what the client sends: its session shows where it stopped.',
  unaccepted: 'Correct what the client sends: its session has each reason.',
  twin: 'Give each device a channel of its own, and each viewer a client id of its own.',
  displaced: 'Two devices use this channel: give each a channel of its own.',
  flapping: 'Read the log of the camera: it leaves by itself.',
};

export function now() {
  const list = h('div', { class: 'rows-now' });
  const rest = h('button', { type: 'button', class: 'small', hidden: true, click: () => { every = true; draw(); } });
  const fine = h('p', { class: 'fine', role: 'status', hidden: true }, 'No problems.');
  const whole = h('section', { class: 'card now live' }, h('h2', {}, 'Now'), fine, list, rest);
  let every = false;
  let ended = false;
  let looked = 0;
  /** @type {any} */
  let state = null;
  /** Rows from pages that are asked for, by page. @type {Record<string, any[]>} */
  const asked = {};
  let timer = 0;

  function draw() {
    if (state?.now == null || state.troubled === null || asked.refused === undefined) return;
    const rows = [...ofState(state), ...Object.values(asked).flat(), ...grouped(state.troubled ?? []).map(ofTrouble)];
    const shown = every ? rows : rows.filter((row, place) => rows.slice(0, place).filter(({ kind }) => kind === row.kind).length < SHOWN);
    keyed(list, shown.toSorted((a, b) => Number(b.look === 'bad') - Number(a.look === 'bad')), (row) => row.key, make, update);
    rest.hidden = shown.length === rows.length;
    put(rest, `All ${number(rows.length)}`);
    fine.hidden = rows.length > 0;
    whole.classList.toggle('well', rows.length === 0);
  }

  async function load(groups) {
    clearTimeout(timer);
    const { status, data } = await get(`/refusals/groups?limit=${ASKED}`);
    if (ended) return;
    if (status === 200) {
      asked.refused = data.groups.filter(isNow).map(ofRefusal);
      groups(data.groups);
    }
    if (Date.now() - looked >= SELDOM_MS) {
      looked = Date.now();
      Object.assign(asked, await slowly(state?.node ?? null));
      if (ended) return;
    }
    draw();
    timer = setTimeout(() => load(groups), EVERY_MS);
  }

  return { whole, load, update(next) { state = next; draw(); }, end() { ended = true; clearTimeout(timer); } };
}

/** What the stream says itself: silent shards, files that were not applied, nodes that differ. */
function ofState({ now }) {
  const silent = now.shards.filter((shard) => shard.silentSeconds !== null).map((shard) => row('silent', `Shard ${shard.shard}`, 'silent', {
    says: 'It does not answer: its connections get nothing.', since: now.t - shard.silentSeconds * 1000, remedy: 'If this lasts, restart the broker and keep its log.' }));
  const reloads = (now.reloads ?? []).map((one) => row('reload', `${one.what[0].toUpperCase()}${one.what.slice(1)}`, 'not applied', {
    says: `Reload failed; the version before stays in force, with what the new one withdraws. ${one.error}`, since: one.since, remedy: 'Correct the file, then reload.', href: '#/log' }));
  const differ = (now.credentials?.differ ?? []).filter((one) => one.late).map((one) => row('differ', `Credentials of ${one.node}`, 'not applied', {
    says: 'They differ from those of this node: who was removed from one still gets in by way of the other.', since: now.t - one.seconds * 1000,
    remedy: 'Copy the files of one node to all.' }));
  return [...silent, ...reloads, ...differ];
}

function row(kind, who, pill, more) {
  return { key: `${kind} ${who} ${pill}`, kind, who, pill, look: 'bad', times: 1, says: '', since: null, remedy: '', href: null, ...more };
}

/** Whether a group of refusals is of somebody who can be named, and of the last minutes. */
function isNow(group) {
  const isNamed = [group.channel, group.keyId, group.thing, group.certificate, group.subject].some((it) => it ?? null);
  return (isNamed || group.check.startsWith('tls_')) && ago(group.last) < LATELY_S;
}

function ofRefusal(group) {
  const who = group.channel ?? group.thing ?? group.certificate ?? group.subject ?? group.keyId;
  const isCamera = group.operation === 'ConnectAsMaster';
  const by = isCamera ? 'camera' : group.clientId ?? '';
  return row('refused', who ?? 'TLS handshakes', group.check, { by, times: group.refusals, says: group.policy ? `Reason: ${group.policy}` : (group.says ?? '').replaceAll('`', ''),
    since: Date.parse(group.first), remedy: (group.do ?? '').replaceAll('`', ''), look: isCamera || who ? 'bad' : 'warn',
    href: group.channel ? `#/channels/${encodeURIComponent(channelName(group.channel))}` : `#/why?check=${encodeURIComponent(group.check)}` });
}

function ofTrouble(one) {
  const alone = one.clients.size === 1;
  const client = one.clientId === null || !alone ? '' : `?client=${encodeURIComponent(one.clientId)}`;
  return row('troubled', one.channel, one.trouble, { by: alone ? one.clientId ?? 'camera' : count(one.clients.size, 'client'), times: one.count, says: one.says,
    since: Date.parse(one.first), remedy: REMEDIES[one.trouble] ?? '', look: one.trouble === 'slow' || one.sends === false ? 'warn' : 'bad', href: `#/channels/${encodeURIComponent(one.channel)}${client}` });
}

/** What changes slowly: certificates and the disk, cameras that confirm nothing, other nodes. */
async function slowly(node) {
  const [metrics, channels, cluster] = await Promise.all([get('/metrics'), get(`/channels?state=doubtful&presence=true&limit=${ASKED}`),
    node?.name ? get('/cluster') : { status: 404, data: {} }]);
  const doubtful = (channels.data.channels ?? []).map((one) => row('doubtful', one.name, 'doubtful', { by: 'camera', look: 'warn',
    since: Date.parse(one.presence?.master?.doubtfulSince), says: 'It is connected and confirms nothing: it may be cut off.',
    remedy: 'Check its network and its power.', href: channelLink(one.arn, node) }));
  const nodes = (cluster.data.nodes ?? []).filter((one) => !one.here && !one.answers).map((one) => row('node', `Node ${one.name}`, 'silent', {
    says: `It does not answer this node; ${count(one.slots, 'slot')} of channels are its own.`, remedy: 'Check that it runs, and the network between the nodes.' }));
  return { ...(metrics.text === undefined ? {} : { figures: ofMetrics(metrics.text) }), doubtful, nodes };
}

/** Ends of certificates, and the space on the disk. Pure, except for the time. */
export function ofMetrics(text, at = Date.now()) {
  const found = [];
  for (const [, name, value] of text.matchAll(/^(heliograph_(?:tls_not_after_seconds|device_authority_not_after_seconds(?:\{[^}]*\})?|data_dir_free_bytes)) (\S+)$/gm)) {
    const left = Number(value) - at / 1000;
    if (name.endsWith('free_bytes')) {
      if (Number(value) < DISK_BYTES) found.push(row('disk', 'Disk', 'full soon', { says: `${bytes(Number(value))} are free for the data directory.`, remedy: 'Make room: changes of channels fail when it is full.' }));
    } else if (Number(value) > 0 && left < CERTIFICATE_S) {
      const who = name.includes('authority') ? `Authority ${/authority="([^"]*)"/.exec(name)?.[1] ?? 'of devices'}` : 'Certificate';
      const says = left > 0 ? `It expires in ${span(left)}.` : `It expired ${span(-left)} ago.`;
      found.push(row('certificate', who, left > 0 ? 'expires' : 'expired', { says, remedy: 'Renew it; the broker reads the files again by itself.', look: left > 7 * DAY_S ? 'warn' : 'bad' }));
    }
  }
  return found;
}

function make(one) {
  return h(one.href === null ? 'div' : 'a', { class: 'trouble' }, h('span', { class: 'who' }, h('b'), h('span')), h('code', { class: 'pill' }),
    h('b', { class: 'number' }), h('span', { class: 'says' }, h('span'), ' ', h('span', { class: 'quiet' })), h('span', { class: 'quiet number' }));
}

function update(line, one) {
  const [who, pill, times, says, when] = line.children;
  if (one.href !== null) line.setAttribute('href', one.href);
  put(who.firstElementChild, one.who);
  put(who.lastElementChild, one.by ? ` / ${one.by}` : '');
  put(pill, one.pill);
  pill.className = `pill ${one.look}`;
  put(times, one.times > 1 ? `${number(one.times)} ×` : '');
  put(says.firstElementChild, sentence(one.says));
  put(says.lastElementChild, one.remedy);
  put(when, one.since ? since(one.since) : '');
}

/** A reason as a sentence. */
const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${text === '' || /[.!?]$/.test(text) ? '' : '.'}`;

/** Since when: the clock, and the day if that is another one. */
function since(moment) {
  return ago(new Date(moment).toISOString()) < DAY_S ? `since ${clock(moment)}` : `for ${span((Date.now() - moment) / 1000)}`;
}

/** Sessions by channel and trouble, the last ones first: the newest of each, how many there are, and since when. Pure. */
export function grouped(sessions) {
  const groups = new Map();
  for (const one of sessions.toSorted((a, b) => Date.parse(b.at) - Date.parse(a.at))) {
    const key = `${one.channel} ${one.trouble}`;
    const known = groups.get(key);
    if (known === undefined) groups.set(key, { ...one, first: one.at, count: one.count ?? 1, clients: new Set([one.clientId]) });
    else { known.count += one.count ?? 1; known.clients.add(one.clientId); known.first = one.at; }
  }
  return [...groups.values()];
}

/** The rows of groups of troubled sessions, for other pages. */
export function drawTroubled(list, sessions) {
  keyed(list, grouped(sessions).map(ofTrouble), (one) => one.key, make, update);
}
