// The cluster as this node sees it: the other nodes, how many slots each owns, etcd, and the links to each node. Also
// what is wrong on any node, and which slots have moved.

import { get } from '../api.js';
import { card, h, keyed, put, table } from '../dom.js';
import { bytes, count, millis, number, span, stamp } from '../format.js';
import { problemList } from './now.js';

/** The number of colours for owners. Nodes get them in order; after the last one they repeat. */
const OWNERS = 5;

/** Interval between requests about this node, and about all nodes. */
const [EVERY_MS, ALL_EVERY_MS] = [2000, 10_000];

export function cluster(root, { node }) {
  const [title, notice] = [h('h1', {}, 'Cluster'), h('p', { class: 'quiet', role: 'status' }, 'Loading …')];
  const wrong = h('ul', { class: 'fault', role: 'alert' });
  const tiles = ['This node', 'etcd', 'Slots', 'Messages'].map((name) => {
    const [value, note] = [h('strong', {}, '–'), h('span', { class: 'quiet' })];
    return { whole: h('div', { class: 'figure' }, h('h2', {}, name), value, note), value, note };
  });
  const nodes = table(['Node', 'State', 'Address', 'Program', '#Runs for', '#Slots', '#Newest epoch'], 'Nodes');
  const strip = h('div', { class: 'slots', role: 'img' });
  const links = table(['Node', 'State', '#Links', '#Streams', '#Waiting', '#Held', '#Unconfirmed', '#Round trip'], 'Links');
  const problems = problemList(node);
  const [moves, missing] = [h('ul', { class: 'rows' }), h('p', { class: 'quiet', role: 'status' })];
  const found = h('div', { class: 'stack', hidden: true }, wrong, h('div', { class: 'figures' }, ...tiles.map((one) => one.whole)),
    card('Problems of all nodes', missing, problems.whole), card('Nodes', nodes.whole, strip), card('Moves of the last hour', moves), card('Links', links.whole, h('p', { class: 'quiet' }, 'One to each shard of another node, opened '
      + 'when a client needs it. Waiting: not written; held: not taken by clients; round trip: of the last ping.')));
  root.append(title, notice, found);
  let [timer, timerOfAll] = [0, 0];
  let ended = false;
  let owners = '';

  async function load() {
    const { status, data } = await get('/cluster');
    if (ended) return;
    if (status === 200) draw(data);
    put(notice, status === 200 ? '' : data.error ?? `status ${status}`);
    notice.hidden = status === 200;
    if (status !== 404) timer = setTimeout(load, EVERY_MS); // without etcd, there is no such page and never will be
  }

  function draw(view) {
    found.hidden = false;
    put(title, `Cluster ${view.cluster}`);
    keyed(wrong, troubles(view), (text) => text, (text) => h('li', {}, text), () => {});
    wrong.hidden = wrong.children.length === 0;
    figures(view).forEach(([value, note], place) => { put(tiles[place].value, value); put(tiles[place].note, note); });
    keyed(nodes.body, view.nodes, (one) => one.name, make, (row, one) => update(row, one, view.node));
    const next = view.slot_owners.join();
    if (next !== owners) drawSlots(strip, view);
    owners = next;
    keyed(links.body, linksOf(view), (one) => one.name, makeLink, updateLink);
  }

  /** Loads what all nodes report. A node that does not answer is named. */
  async function loadAll() {
    const [now, last] = await Promise.all([get('/problems'), get('/history?from=-1h&step=15m')]);
    if (ended) return;
    timerOfAll = setTimeout(loadAll, ALL_EVERY_MS);
    problems.update((now.data.problems ?? []).map((one) => ({ ...one, title: `${one.node}: ${one.title}` })));
    const silent = [...new Set([...now.data.missingNodes ?? [], ...last.data.missingNodes ?? []])];
    put(missing, silent.length > 0 ? `Without an answer: ${silent.join(', ')}.` : now.data.problems?.length === 0 ? 'No problems.' : '');
    const moved = (last.data.marks ?? []).filter(({ kind }) => kind === 'slots').toSorted((a, b) => b.at - a.at);
    keyed(moves, moved, (mark) => `${mark.node} ${mark.at}`, (mark) => h('li', {}, h('span', { class: 'quiet' }, stamp(mark.at)), h('b', {}, mark.node),
      h('span', {}, mark.says)), () => {});
    moves.parentElement.hidden = moved.length === 0;
  }

  load();
  loadAll();
  return { end() { ended = true; clearTimeout(timer); clearTimeout(timerOfAll); problems.end(); } };
}

/** Describes what is wrong. Pure. */
export function troubles(view) {
  return [
    view.cut_off && 'No other node answers this one: it claims none of their slots. Check the network between the nodes.',
    view.other_history && 'The history of etcd differs from the one this node knew: etcd was restored or replaced.',
    view.etcd === 'down' && `etcd does not answer${view.trouble ? `: ${view.trouble}` : ''}.`,
    view.etcd !== 'down' && view.trouble,
    view.vacant > 0 && `${count(view.vacant, 'slot')} without an owner: the channels in them are not served.`,
    ...linksOf(view).filter((one) => one.doubtful > 0).map((one) => `${count(one.doubtful, 'link')} ${one.name} without a sign of `
      + 'that node: nothing begins there. Check the network between the nodes, and whether that node runs.'),
    view.served < view.owned && `${count(view.owned - view.served, 'slot')} that this node owns and does not serve yet.`,
  ].filter(Boolean);
}

/** Returns the value and the note of each tile. Pure. */
export function figures(view) {
  const { sent, received, lost } = view.messages;
  const { used, quota } = view.etcd_bytes;
  const all = view.nodes.reduce((sum, one) => sum + one.slots, view.vacant);
  return [
    [view.node, `${view.standing}; admits for ${span(view.valid_ms / 1000)} without etcd`],
    [view.etcd, `${millis(view.etcd_seconds * 1000)} an answer${quota > 0 ? `, ${bytes(used)} of ${bytes(quota)} in use` : ''}`],
    [number(view.owned), `of ${number(all)}; ${count(view.slot_changes, 'change')} of owners seen`],
    [number(sent), `sent to other nodes, ${number(received)} received, ${number(lost)} lost`],
  ];
}

/** Describes the state of a node in one word. Pure. */
export function stateOf(one, own) {
  if (one.name === own) return ['this node', 'good'];
  if (one.stranger) return [one.stranger, 'bad'];
  if (!one.here) return ['away', 'none'];
  if (one.answers) return ['answers', 'good'];
  return [one.registered ? 'silent' : 'not registered', 'bad'];
}

function make(one) {
  const [text, figure] = [() => h('td', {}), () => h('td', { class: 'number' })];
  return h('tr', {}, h('th', { scope: 'row' }, one.name), h('td', {}, h('span', { class: 'pill' })), text(), text(), figure(), figure(), figure());
}

function update(row, one, own) {
  const [, state, address, program, since, slots, epoch] = row.children;
  const [word, look] = stateOf(one, own);
  put(state.firstElementChild, word);
  state.firstElementChild.className = `pill ${look}`;
  put(address, one.address ?? '–');
  put(program, one.version === null ? '–' : `${one.version} ${one.commit.slice(0, 9)}, inner ${one.inner_version}`);
  put(since, one.started ? span(Date.now() / 1000 - one.started) : '–');
  put(slots, number(one.slots));
  put(epoch, number(one.newest_epoch));
}

/**
 * Returns the runs of slots with the same owner, as `[owner, slots]`. The owner is an index into the nodes, or null.
 * Pure.
 */
export function slotRuns(owners) {
  const runs = [];
  for (const owner of owners) {
    const last = runs.at(-1);
    if (last?.[0] === owner) last[1] += 1; else runs.push([owner, 1]);
  }
  return runs;
}

/** Draws the slots as one strip, coloured by owner. Its text states how many slots each owner has. */
function drawSlots(strip, view) {
  const says = view.nodes.filter((one) => one.slots > 0).map((one) => `${one.name} ${number(one.slots)}`);
  strip.setAttribute('aria-label', `Slots by owner: ${[...says, ...(view.vacant > 0 ? [`nobody ${number(view.vacant)}`] : [])].join(', ')}`);
  let from = 0;
  strip.replaceChildren(...slotRuns(view.slot_owners).map(([owner, slots]) => {
    const name = owner === null ? 'nobody' : view.nodes[owner].name;
    const run = h('i', { title: `${name}: slots ${from} to ${from + slots - 1}` });
    run.style.background = owner === null ? 'var(--bad)' : `var(--c${owner % OWNERS})`;
    run.style.flexGrow = String(slots);
    from += slots;
    return run;
  }));
}

/** Returns the links to and from each other node. Pure. */
export function linksOf(view) {
  const others = view.nodes.filter((one) => one.name !== view.node);
  return others.flatMap(({ name, links }) => [{ name: `to ${name}`, ...links.to }, { name: `from ${name}`, ...links.from }]);
}

function makeLink(one) {
  const cells = Array.from({ length: 6 }, () => h('td', { class: 'number' }));
  return h('tr', {}, h('th', { scope: 'row' }, one.name), h('td', {}, h('span', { class: 'pill' })), ...cells);
}

function updateLink(row, one) {
  const [, state, ...cells] = row.children;
  const [word, look] = one.doubtful > 0 ? [`${number(one.doubtful)} doubtful`, 'bad'] : one.links > 0 ? ['open', 'good'] : ['none', 'none'];
  put(state.firstElementChild, word);
  state.firstElementChild.className = `pill ${look}`;
  const texts = [number(one.links), number(one.streams), bytes(one.waiting_bytes), bytes(one.held_bytes), bytes(one.unconfirmed_bytes),
    millis(one.round_trip_ms)];
  texts.forEach((text, place) => put(cells[place], text));
}
