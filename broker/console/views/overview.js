// The first page: is it the service, and where.

import { chart } from '../chart.js';
import { card, h, keyed, put, svg, table } from '../dom.js';
import { ago, bytes, count, micros, millis, number, span, wholeMillis } from '../format.js';

export function overview(root) {
  const figures = ['Connections', 'Messages', 'Delivery', 'Session set-up', 'Refused'].map((title) => {
    const value = h('strong', {}, '–');
    const note = h('span', { class: 'quiet' }, '');
    return { whole: h('div', { class: 'figure' }, h('h2', {}, title), value, note), value, note };
  });
  const charts = [
    chart('Messages per second', [{ name: 'messages/s', column: 'messagesPerSecond' }], number),
    chart('Delivery', [{ name: 'p50', column: 'deliveryP50Us' }, { name: 'p99', column: 'deliveryP99Us' }], micros),
    chart('Connections', [{ name: 'masters', column: 'masters' }, { name: 'viewers', column: 'viewers' }], number),
  ];
  const shards = table(['Shard', 'State', 'Busy', '#Connections', '#Outboxes', '#Kept', '#Longest turn'], 'Shards');
  const refused = h('div', { class: 'bars' });
  const calm = h('p', { class: 'quiet' }, 'None so far.');
  const signs = table(['Sign-ins since the start', '#Let in', '#Refused'], 'Sign-ins');
  const signed = card('Sign-ins', signs.whole, h('p', {}, h('a', { href: '#/why' }, 'Why was a sign-in refused?')));
  signed.hidden = true;
  const stays = h('div', {});
  const refusedFiles = card('Reload failed', stays);
  refusedFiles.hidden = true;
  const differ = h('p', { class: 'bad', hidden: true });
  const troubled = h('div', { class: 'troubled' });
  const rest = h('button', { type: 'button', class: 'small', hidden: true, click: () => { every = true; if (last !== null) drawTroubled(last); } });
  const well = h('p', { class: 'quiet' }, 'None is known.');
  const node = h('p', { class: 'quiet foot' });
  const seen = new Map();
  let every = false;
  /** @type {any[] | null} */
  let last = null;
  root.append(
    h('h1', { class: 'unseen' }, 'Overview'),
    refusedFiles,
    h('div', { class: 'figures', 'aria-live': 'off' }, ...figures.map((figure) => figure.whole)),
    h('div', { class: 'charts' }, ...charts.map((one) => one.whole)),
    h('div', { class: 'halves' }, card('Shards', shards.whole),
      card('Refused while this page is open', refused, calm, h('p', {}, h('a', { href: '#/why' }, 'Why was a request refused?')))),
    differ,
    signed,
    card('Troubled sessions', troubled, rest, well),
    node,
  );

  function drawTroubled(sessions) {
    last = sessions;
    const groups = grouped(sessions);
    keyed(troubled, every ? groups : groups.slice(0, TROUBLED), (one) => `${one.channel} ${one.trouble}`, makeTroubled, updateTroubled);
    rest.hidden = every || groups.length <= TROUBLED;
    put(rest, `All ${number(groups.length)}`);
    well.hidden = groups.length > 0;
  }

  return {
    update(state) {
      const now = state.now;
      if (now === null) return;
      const peers = now.connections.master + now.connections.viewer;
      const refusals = Object.entries(now.refusedPerSecond);
      // In a second without any, what was measured last.
      const lately = (column, value) => value ?? state.history?.[column].findLast((one) => one !== null) ?? null;
      const sum = refusals.reduce((all, [, rate]) => all + rate, 0);
      const texts = [
        [number(peers), `${count(now.connections.master, 'master')}, ${count(now.connections.viewer, 'viewer')}, `
          + count(now.channels, 'channel')],
        [`${number(now.messagesPerSecond)}/s`, `${number(now.pendingMessages)} kept for absent peers`],
        [micros(lately('deliveryP99Us', now.deliveryUs.p99)), `p99, median ${micros(lately('deliveryP50Us', now.deliveryUs.p50))}`],
        [wholeMillis(lately('setupP99Ms', now.setupMs.p99)),
          `p99, median ${wholeMillis(lately('setupP50Ms', now.setupMs.p50))}`],
        [`${number(sum)}/s`, sum > 0 ? `mostly ${refusals.toSorted((a, b) => b[1] - a[1])[0][0]}` : 'no refusals'],
      ];
      texts.forEach(([value, note], place) => { put(figures[place].value, value); put(figures[place].note, note); });
      charts.forEach((one) => one.update(state.history));
      keyed(shards.body, now.shards, (shard) => String(shard.shard), makeShard, updateShard);
      for (const [reason, rate] of refusals) seen.set(reason, (seen.get(reason) ?? 0) + rate);
      drawRefused(refused, seen);
      calm.hidden = seen.size > 0;
      const kinds = Object.entries(now.signIns ?? {});
      signed.hidden = kinds.length === 0;
      keyed(signs.body, kinds, ([kind]) => kind, makeSigned, updateSigned);
      const reloads = now.reloads ?? [];
      refusedFiles.hidden = reloads.length === 0;
      keyed(stays, reloads, (one) => one.what, () => h('div', {}, h('p', { class: 'bad' }), h('pre')), (part, one) => {
        put(part.firstElementChild, `The ${one.what} stays as it was ${span(Math.max(0, (now.t - one.since) / 1000))} ago: what the new one `
          + 'withdraws is still let in.');
        put(part.lastElementChild, one.error);
      });
      const others = (now.credentials?.differ ?? []).filter((one) => one.late);
      differ.hidden = others.length === 0;
      put(differ, differing(others));
      drawTroubled(state.troubled ?? []);
      if (state.node !== null) {
        const { version, commit, profile, region, accountId, startedAt } = state.node;
        put(node, `Heliograph ${version}${commit === 'unknown' ? '' : ` (${commit.slice(0, 12)})`}, profile ${profile}, ${region}, account `
          + `${accountId}, up for ${span((now.t - startedAt) / 1000)}`);
      }
    },
  };
}

function differing(others) {
  const nodes = others.map((one) => `${one.node} for ${span(one.seconds)}`);
  return `Credentials files differ from this node's: ${nodes.join(', ')}. Anyone who was removed from one still gets in by way of the `
    + 'others: copy the files of one node to all.';
}

/** Kinds of sign-ins, in words. */
const KINDS = {
  certificate: 'Certificates of devices', federation: 'Federated users', role: 'Roles, by keys', session: 'Sessions of principals',
  web: 'Tokens of OpenID providers',
};

function makeSigned([kind]) {
  return h('tr', {}, h('th', { scope: 'row' }, KINDS[kind] ?? kind), h('td', { class: 'number' }), h('td', { class: 'number' }));
}

function updateSigned(row, [, { ok, refused }]) {
  put(row.children[1], number(ok));
  put(row.children[2], number(refused));
}

function makeShard() {
  const bar = svg('svg', { class: 'bar', viewBox: '0 0 100 10', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    svg('rect', { class: 'bar-ground', width: 100, height: 10, rx: 2 }), svg('rect', { class: 'bar-fill', height: 10, rx: 2 }));
  return h('tr', {}, h('th', { scope: 'row' }), h('td', {}, h('span', { class: 'pill' })),
    h('td', { class: 'busy' }, h('div', {}, bar, h('span'))), ...Array.from({ length: 4 }, () => h('td', { class: 'number' })));
}

function updateShard(row, shard) {
  const [name, state, busy, ...numbers] = row.children;
  const silent = shard.silentSeconds !== null;
  put(name, shard.shard);
  put(state.firstElementChild, silent ? `silent ${span(shard.silentSeconds)}` : 'answers');
  state.firstElementChild.className = `pill ${silent ? 'bad' : 'good'}`;
  busy.querySelector('.bar-fill').setAttribute('width', String(Math.round(shard.busy * 100)));
  put(busy.firstElementChild.lastElementChild, `${Math.round(shard.busy * 100)} %`);
  const texts = [number(shard.connections), bytes(shard.outboxBytes), bytes(shard.pendingBytes), millis(shard.turnMaxMs)];
  numbers.forEach((cell, place) => put(cell, texts[place]));
}

function drawRefused(parent, seen) {
  const items = [...seen].toSorted((a, b) => b[1] - a[1]).slice(0, 8);
  const most = items[0]?.[1] ?? 1;
  keyed(parent, items, ([reason]) => reason,
    ([reason]) => h('a', { class: 'bar-row', href: `#/why?check=${encodeURIComponent(reason)}` }, h('code', {}, reason),
      svg('svg', { class: 'bar', viewBox: '0 0 100 10', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
        svg('rect', { class: 'bar-bad', height: 10, rx: 2 })), h('b')),
    (row, [, count]) => {
      row.querySelector('rect')?.setAttribute('width', String(Math.max(1, (100 * count) / most)));
      put(row.lastElementChild, number(Math.round(count)));
    });
}

/** Sessions by channel and trouble, the last ones first: the newest of each, and how many there are. Pure. */
export function grouped(sessions) {
  const groups = new Map();
  for (const one of sessions.toSorted((a, b) => Date.parse(b.at) - Date.parse(a.at))) {
    const key = `${one.channel} ${one.trouble}`;
    const known = groups.get(key);
    if (known === undefined) groups.set(key, { ...one, count: one.count ?? 1, clients: new Set([one.clientId]) });
    else { known.count += one.count ?? 1; known.clients.add(one.clientId); }
  }
  return [...groups.values()];
}

/** The row of a group of troubled sessions. */
export function makeTroubled() {
  return h('a', { class: 'trouble' }, h('span', { class: 'who' }, h('b'), h('span')), h('code', { class: 'pill' }), h('b', { class: 'number' }),
    h('span', { class: 'says' }), h('span', { class: 'quiet number' }));
}

export function updateTroubled(row, one) {
  const [who, trouble, times, says, when] = row.children;
  const alone = one.clients.size === 1;
  const client = one.clientId === null || !alone ? '' : `?client=${encodeURIComponent(one.clientId)}`;
  row.setAttribute('href', `#/channels/${encodeURIComponent(one.channel)}${client}`);
  put(who.firstElementChild, one.channel);
  put(who.lastElementChild, ` / ${alone ? one.clientId ?? 'master' : count(one.clients.size, 'client')}`);
  put(trouble, one.trouble);
  trouble.className = `pill ${one.trouble === 'slow' ? 'warn' : 'bad'}`;
  put(times, one.count > 1 ? `${number(one.count)} ×` : '');
  put(says, one.says);
  put(when, `${span(Math.max(0, Math.round(ago(one.at))))} ago`);
}

/** Groups of troubled sessions shown before somebody asks for all. */
const TROUBLED = 8;
