// The first page: what is wrong, followed by how the service is doing.

import { columns, spark, underPointer } from '../chart.js';
import { card, h, keyed, put, table } from '../dom.js';
import { bytes, count, micros, millis, number, span, wholeMillis } from '../format.js';
import { get } from '../api.js';
import { series } from '../series.js';
import { now as nowList } from './now.js';

/** Number of groups of refusals in the chart, and interval between requests for them. */
const [GROUPS, EVERY_MS] = [200, 5000];
/** Time over which rates are averaged, and the seconds covered by a row of the last hour. */
const [RATE_MS, STEP_S] = [60_000, 4];

export function overview(root, { node: place }) {
  const tiles = [['Connections', 'masters'], ['Messages', 'messagesPerSecond'], ['Delivery', 'deliveryP99Us'], ['Session set-up', 'setupP99Ms'],
    ['Refused', 'refusedPerSecond']].map(([title, column]) => {
    const [value, note, picture] = [h('strong', {}, '–'), h('span', { class: 'quiet' }, ''), spark()];
    return { whole: h('div', { class: 'figure' }, h('h2', {}, title), value, note, picture.whole), value, note, picture, column };
  });
  const level = (value) => value;
  const charts = [
    series('Messages', 'per second', [{ name: 'messages', column: 'messagesPerSecond' }], number, level),
    series('Delivery', 'from receipt to socket', [{ name: 'p50', column: 'deliveryP50Us' }, { name: 'p99', column: 'deliveryP99Us' }], micros, level),
    series('Session set-up', 'from connect to answer', [{ name: 'p50', column: 'setupP50Ms' }, { name: 'p99', column: 'setupP99Ms' }], wholeMillis, level),
    series('Connections', 'open', [{ name: 'cameras', column: 'masters' }, { name: 'viewers', column: 'viewers' }], number, level),
  ];
  /** @type {any} */
  let hour = null;
  /** @type {number | null} */
  let under = null;
  function point() {
    if (hour !== null) charts.forEach((one) => one.point(under === null ? null : hour.from + under * (hour.to - hour.from), hour));
  }
  charts.forEach(({ picture }) => underPointer(picture, (part) => { under = part; point(); }));
  const refused = columns('Refusals', 'per minute, by check', (check) => (check === 'others' ? '#/why' : `#/why?check=${encodeURIComponent(check)}`));
  const strip = h('div', { class: 'heat' });
  const shards = table(['Shard', 'State', '#Busy', '#Connections', '#Outboxes', '#Queued', '#Longest turn'], 'Shards');
  const signs = table(['Sign-ins since the start', '#Let in', '#Refused'], 'Sign-ins');
  const signed = card('Sign-ins', signs.whole, h('p', {}, h('a', { href: '#/why' }, 'Why was a sign-in refused?')));
  signed.hidden = true;
  const wrong = nowList(place);
  const waits = h('div', { class: 'notice', hidden: true });
  const node = h('p', { class: 'quiet foot' });
  root.append(
    h('h1', { class: 'unseen' }, 'Overview'),
    waits,
    wrong.whole,
    h('div', { class: 'figures live', 'aria-live': 'off' }, ...tiles.map((tile) => tile.whole)),
    h('div', { class: 'charts live' }, ...charts.map((one) => one.whole), refused.whole,
      card('Shards', strip, h('details', { open: matchMedia('(min-width: 62rem)').matches }, h('summary', {}, 'Figures of each shard'), shards.whole))),
    signed,
    node,
  );
  let timer = 0;
  let ended = false;
  async function loadRefused() {
    const { status, data } = await get(`/refusals/groups?limit=${GROUPS}`);
    if (ended) return;
    if (status === 200) refused.update(data.groups);
    timer = setTimeout(loadRefused, EVERY_MS);
  }
  loadRefused();

  return {
    update(state) {
      const now = state.now;
      wrong.update(state);
      if (now === null) return;
      put(waits, waiting(now.configuration));
      waits.hidden = waits.textContent === '';
      const texts = figures(now, state.history);
      tiles.forEach((tile, place) => {
        put(tile.value, texts[place][0]);
        put(tile.note, texts[place][1]);
        if (state.history !== null) tile.picture.update(state.history.t, ofTile(state.history, tile.column));
      });
      if (state.history?.t.length > 0) {
        hour = { from: state.history.t[0], to: state.history.t.at(-1) };
        charts.forEach((one) => one.draw({ columns: state.history, step: STEP_S, marks: [] }, hour));
        point();
      }
      keyed(strip, now.shards, (shard) => String(shard.shard), () => h('span', { class: 'cell' }), updateCell);
      keyed(shards.body, now.shards, (shard) => String(shard.shard), makeShard, updateShard);
      const kinds = Object.entries(now.signIns ?? {});
      signed.hidden = kinds.length === 0;
      keyed(signs.body, kinds, ([kind]) => kind, makeSigned, updateSigned);
      if (state.node !== null) {
        const { version, commit, profile, engine, region, accountId, startedAt } = state.node;
        put(node, `Heliograph ${version}${commit === 'unknown' ? '' : ` (${commit.slice(0, 12)})`}, profile ${profile}, on ${engine}, ${region}, account `
          + `${accountId}, up for ${span((now.t - startedAt) / 1000)}`);
      }
    },
    end() { ended = true; clearTimeout(timer); wrong.end(); },
  };
}

/**
 * Lists the keys of the configuration file that differ from the running settings, by what applies them. Empty if there
 * are none. Pure.
 */
export function waiting(configuration) {
  const parts = [['a restart', configuration?.needsRestart], ['SIGHUP', configuration?.needsSighup]].filter(([, keys]) => keys?.length > 0);
  return parts.length === 0 ? '' : `The configuration file has changed since the start: ${parts.map(([what, keys]) => `${keys.join(', ')} (needs ${what})`).join('; ')}.`;
}

/** Returns the column of a tile. Connections are those of both roles. */
const ofTile = (history, column) => (column === 'masters' ? history.masters.map((one, place) => (one ?? 0) + (history.viewers[place] ?? 0)) : history[column]);

/** Returns the value and the note of each tile. */
function figures(now, history) {
  const { master, viewer } = now.connections;
  // If nothing was measured in this second, the last measurement is shown.
  const last = (column, value) => value ?? history?.[column].findLast((one) => one !== null) ?? null;
  const checks = Object.entries(now.refusedPerSecond).toSorted((a, b) => b[1] - a[1]);
  const messages = mean(history, 'messagesPerSecond') ?? now.messagesPerSecond;
  const refusals = mean(history, 'refusedPerSecond') ?? checks.reduce((sum, [, rate]) => sum + rate, 0);
  return [
    [number(master + viewer), `${count(master, 'camera')}, ${count(viewer, 'viewer')}, ${count(now.channels, 'channel')}`],
    [`${number(messages)}/s`, `${number(now.pendingMessages)} queued for absent peers`],
    [micros(last('deliveryP99Us', now.deliveryUs.p99)), `p99, median ${micros(last('deliveryP50Us', now.deliveryUs.p50))}`],
    [wholeMillis(last('setupP99Ms', now.setupMs.p99)), `p99, median ${wholeMillis(last('setupP50Ms', now.setupMs.p50))}`],
    [`${number(refusals)}/s`, checks.length > 0 ? `mostly ${checks[0][0]}` : refusals > 0 ? 'in the last minute' : 'no refusals'],
  ];
}

/** Returns the mean of a column over the last minute of a history, or null if there is no history. Pure. */
export function mean(history, column) {
  const end = history?.t.at(-1) ?? 0;
  const found = (history?.[column] ?? []).filter((one, place) => one !== null && history.t[place] > end - RATE_MS);
  return found.length === 0 ? null : found.reduce((sum, one) => sum + one, 0) / found.length;
}

/** The kinds of sign-ins, in words. */
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

const isSilent = (shard) => shard.silentSeconds !== null;
const percent = (shard) => `${Math.round(shard.busy * 100)} %`;

/** Updates a cell of the heat strip. The busier the shard, the darker the cell, in five steps. */
function updateCell(cell, shard) {
  cell.className = `cell ${isSilent(shard) ? 'silent' : `heat${Math.min(4, Math.floor(shard.busy * 5))}`}`;
  put(cell, isSilent(shard) ? `${shard.shard}: silent` : percent(shard));
  cell.setAttribute('title', `Shard ${shard.shard}: ${isSilent(shard) ? `silent for ${span(shard.silentSeconds)}` : `${percent(shard)} busy`}`);
}

function makeShard() {
  return h('tr', {}, h('th', { scope: 'row' }), h('td', {}, h('span', { class: 'pill' })), ...Array.from({ length: 5 }, () => h('td', { class: 'number' })));
}

function updateShard(row, shard) {
  const [name, state, ...numbers] = row.children;
  put(name, shard.shard);
  put(state.firstElementChild, isSilent(shard) ? `silent ${span(shard.silentSeconds)}` : 'healthy');
  state.firstElementChild.className = `pill ${isSilent(shard) ? 'bad' : 'good'}`;
  const texts = [percent(shard), number(shard.connections), bytes(shard.outboxBytes), bytes(shard.pendingBytes), millis(shard.turnMaxMs)];
  numbers.forEach((cell, place) => put(cell, texts[place]));
}
