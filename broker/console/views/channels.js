// All channels by name. They can be searched by part of the name and by what is wrong.

import { get } from '../api.js';
import { h, keyed, put, table } from '../dom.js';
import { ago, channelLink, number, presence, span } from '../format.js';

/** Number of channels shown at first, and number added each time, which is as many as a response contains. */
const [FIRST, MORE] = [100, 1000];
/** Interval between requests if one response suffices, and if more are needed. */
const [EVERY_MS, SELDOM_MS] = [5000, 30_000];
/** Delay of the next request after a channel that is not on the page has changed. */
const CHANGED_MS = 1000;
const STATES = [['', 'all'], ['awaited', 'viewer waiting, no camera'], ['no_master', 'no camera'], ['waiting', 'viewer or messages waiting'], ['doubtful', 'camera doubtful']];

export function channels(root, { parameters, node }) {
  const part = /** @type {HTMLInputElement} */ (h('input', { type: 'search', id: 'part', autocomplete: 'off',
    spellcheck: 'false', maxlength: 256, placeholder: 'contains …' }));
  part.value = parameters.get('contains') ?? '';
  const state = /** @type {HTMLSelectElement} */ (h('select', { id: 'state', change: () => { wanted = FIRST; load(); } },
    ...STATES.map(([value, text]) => h('option', { value, selected: value === (parameters.get('state') ?? '') }, text))));
  const rows = table(['Channel', 'Camera', 'For', '#Viewers', '#Waiting', '#Queued', '#Shard'], 'Channels');
  const notice = h('p', { class: 'quiet', role: 'status' }, 'Loading …');
  const more = h('button', { type: 'button', hidden: true, click: () => grow() }, 'More');
  root.append(h('h1', {}, 'Channels'), h('div', { class: 'card' },
    h('div', { class: 'row' }, h('label', { for: 'part' }, 'Name'), part, h('label', { for: 'state', class: 'unseen' }, 'State'), state),
    notice, rows.whole, more));

  let wanted = FIRST;
  let asked = 0;
  let timer = 0;
  let loading = false;
  let soon = false;
  /** The channels on the page, by ARN. */
  let shown = new Map();
  /** The last presence event that was handled. Used to handle each event once. */
  let told = null;
  /** @type {number | null} */
  let total = null;
  // Scrolling to the end shows more channels without a click.
  const end = new IntersectionObserver(([entry]) => { if (entry.isIntersecting && wanted > FIRST) grow(); });
  end.observe(more);

  function grow() {
    if (loading) return;
    wanted += MORE;
    load();
  }

  async function load() {
    clearTimeout(timer);
    loading = true;
    soon = false;
    const number = ++asked;
    const found = [];
    let missing = [];
    let token = '';
    let fault = null;
    do {
      const limit = String(Math.min(MORE, wanted - found.length));
      const query = new URLSearchParams({ contains: part.value, state: state.value, limit, token, presence: 'true' });
      const { status, data } = await get(`/channels?${query}`);
      if (number !== asked) return; // something else has been typed in the meantime
      if (status !== 200) { fault = data.error ?? `status ${status}`; break; }
      found.push(...data.channels);
      missing = data.missingNodes ?? [];
      token = data.nextToken ?? '';
    } while (token !== '' && found.length < wanted);
    loading = false;
    if (fault === null) draw(found, token !== '', missing);
    else put(notice, fault);
    if (!soon) timer = setTimeout(load, found.length > MORE ? SELDOM_MS : EVERY_MS);
  }

  /** Requests the list again soon, but not more often than allowed. */
  function loadSoon() {
    if (soon) return;
    soon = true;
    clearTimeout(timer);
    timer = setTimeout(load, CHANGED_MS);
  }

  /**
   * Handles a client that connects, disconnects or waits. A channel on the page is updated at once; otherwise, the list
   * is requested again.
   */
  function changed(now) {
    const one = shown.get(now.channel?.arn);
    if (one !== undefined ? shown.size <= MORE : state.value !== '' && presence(now).word === 'awaited') loadSoon();
    if (one === undefined) return;
    const was = one.presence;
    if (was && (was.epoch > now.epoch || was.epoch === now.epoch && was.sequence > now.sequence)) return;
    Object.assign(one, { presence: now, masterConnected: now.master !== null, viewers: now.viewers });
    const row = [...rows.body.children].find((row) => row.getAttribute('data-key') === one.arn);
    if (row) update(row, one);
  }

  function draw(found, goesOn, missing) {
    shown = new Map(found.map((one) => [one.arn, one]));
    keyed(rows.body, found, (one) => one.arn, make, update);
    rows.whole.hidden = found.length === 0;
    more.hidden = !goesOn;
    const filtered = part.value !== '' || state.value !== '';
    const of = total === null ? '' : ` of ${number(total)}`;
    const text = found.length > 0 ? `${number(found.length)}${goesOn ? ' shown' : ''}${filtered || goesOn ? of : ''} channels`
      : filtered ? `No channel${of} matches.` : 'No channels yet.';
    put(notice, missing.length === 0 ? text : `${text}, without those of ${missing.join(', ')}: no answer`);
  }

  function make(one) {
    return h('tr', {}, h('th', { scope: 'row' }, h('a', { href: channelLink(one.arn, node()) }, one.name)),
      h('td', {}, h('span', { class: 'pill' })), h('td', { class: 'quiet' }), h('td', { class: 'number' }),
      h('td', { class: 'number' }), h('td', { class: 'number' }), h('td', { class: 'number' }));
  }

  function update(row, one) {
    const [, master, duration, viewers, waiting, kept, shard] = row.children;
    const { word, look } = presence(one.presence);
    put(master.firstElementChild, word);
    master.firstElementChild.className = `pill ${look}`;
    age(duration, one);
    const waits = (one.presence?.waiting.length ?? 0) + (one.presence?.waitingMore ?? 0);
    [[viewers, one.viewers], [waiting, waits], [kept, one.pending]].forEach(([cell, count]) => put(cell, number(count)));
    put(shard, one.node === undefined ? number(one.shard) : `${one.node} · ${number(one.shard)}`);
  }

  function age(cell, one) {
    const { since } = presence(one.presence);
    put(cell, since === null ? '' : span(Math.max(0, ago(since))));
  }

  const every = setInterval(() => {
    if (shown.size > MORE) return;
    for (const row of rows.body.children) age(row.children[2], shown.get(row.getAttribute('data-key')) ?? {});
  }, 1000);

  part.addEventListener('input', () => {
    clearTimeout(timer);
    wanted = FIRST;
    timer = setTimeout(load, 250);
  });
  load();
  return {
    update(now) {
      total = now.now?.channels ?? total;
      if (now.presence === null || now.presence === told) return;
      told = now.presence;
      if (told.channel) changed(told);
      else loadSoon();
    },
    end() { clearTimeout(timer); clearInterval(every); end.disconnect(); asked += 1; },
  };
}
