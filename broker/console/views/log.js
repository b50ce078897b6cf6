// The log, which the broker searches. Shows lines and their fields, from newest to oldest, and their number by time and
// level.

import { get } from '../api.js';
import { copier, h, keyed, put, svg } from '../dom.js';
import { clock, count, number, stamp, zone } from '../format.js';

/** Number of lines shown at first, and number added each time. */
const PAGE = 200;
/** Maximum number of lines shown. */
const MOST = 5000;
/** Interval between requests. */
const EVERY_MS = 2000;
const TYPED_MS = 250;
const LEVELS = ['ERROR', 'WARN', 'INFO', 'DEBUG', 'TRACE'];
const SPANS = [['', 'all that is kept'], ['300', 'the last 5 min'], ['3600', 'the last hour'], ['86400', 'the last day']];
/** Width and height of the picture. */
const [WIDTH, HEIGHT] = [600, 40];

export function log(root, { parameters }) {
  const box = (id, label) => /** @type {HTMLInputElement} */ (h('input', { type: 'search', id, autocomplete: 'off', spellcheck: 'false', maxlength: 400,
    placeholder: label, value: parameters.get(id) ?? '', input: () => { clearTimeout(timer); timer = setTimeout(again, TYPED_MS); } }));
  const [search, channel] = [box('search', 'contains …'), box('channel', 'channel')];
  const chosen = (parameters.get('level') ?? 'INFO').toUpperCase();
  const level = /** @type {HTMLSelectElement} */ (h('select', { id: 'level', change: () => again() },
    ...LEVELS.map((name) => h('option', { value: name, selected: name === chosen }, name.toLowerCase()))));
  const last = /** @type {HTMLSelectElement} */ (h('select', { id: 'last', change: () => { range = [null, null]; again(); } },
    ...SPANS.map(([value, text]) => h('option', { value, selected: value === (parameters.get('last') ?? '') }, text))));
  const pause = h('button', { type: 'button', 'aria-pressed': 'false', click: () => {
    paused = !paused;
    pause.setAttribute('aria-pressed', String(paused));
    put(pause, paused ? 'Resume' : 'Pause');
    load();
  } }, 'Pause');
  const picture = svg('svg', { class: 'levels', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': 'Lines by time' });
  const ends = h('p', { class: 'xs', 'aria-hidden': 'true' }, h('span'), h('span'));
  const whole = h('button', { type: 'button', class: 'small', hidden: true, click: () => { range = [null, null]; again(); } });
  const output = h('ol', { class: 'log', tabindex: '0', 'aria-label': 'Log lines, the newest first' });
  const notice = h('p', { class: 'quiet', role: 'status' }, 'Loading …');
  const more = h('button', { type: 'button', hidden: true, click: () => { wanted += PAGE; load(); } }, 'More');
  root.append(h('h1', {}, 'Log'), h('div', { class: 'card' }, h('div', { class: 'row' },
    h('label', { for: 'level' }, 'Level'), level, h('label', { for: 'search', class: 'unseen' }, 'Text'), search, h('label', { for: 'channel', class: 'unseen' }, 'Channel'),
    channel, h('label', { for: 'last', class: 'unseen' }, 'Time'), last, pause, copier('Copy', () => lines.map((line) => line.text).join('\n'))),
  picture, ends, h('div', { class: 'row' }, notice, whole), output, more));

  /** @type {any[]} */
  let lines = [];
  /** The time span that was chosen in the picture. @type {(string | null)[]} */
  let range = ['since', 'until'].map((name) => parameters.get(name));
  let wanted = PAGE;
  let paused = false;
  let ended = false;
  let asked = 0;
  let timer = 0;

  /** Searches from the start, and stores the search in the address. */
  function again() {
    wanted = PAGE;
    const [since, until] = range;
    const place = new URLSearchParams(Object.entries({ level: level.value, search: search.value, channel: channel.value, last: last.value,
      since: since ?? '', until: until ?? '' }).filter(([, value]) => value !== ''));
    history.replaceState(null, '', `#/log?${place}`);
    load();
  }

  async function load() {
    clearTimeout(timer);
    if (paused || ended) return;
    const number = ++asked;
    const [since, until] = range;
    const from = since ?? (last.value === '' ? '' : new Date(Date.now() - Number(last.value) * 1000).toISOString());
    const found = [];
    let before = '';
    for (let data; found.length < wanted; before = String(data.next)) {
      const query = new URLSearchParams({ level: level.value, search: search.value, channel: channel.value, since: from, until: until ?? '',
        limit: String(Math.min(1000, wanted - found.length)), before });
      const answer = await get(`/log?${query}`);
      if (number !== asked || ended || paused) return;
      if (answer.status !== 200) { put(notice, answer.data.error ?? `status ${answer.status}`); timer = setTimeout(load, EVERY_MS); return; }
      data = answer.data;
      found.push(...data.lines);
      if (before === '') draw(data);
      more.hidden = data.next === null || wanted >= MOST;
      if (data.next === null) break;
    }
    lines = found;
    keyed(output, lines, (line) => `${line.node} ${line.seq}`, row, () => {});
    timer = setTimeout(load, EVERY_MS);
  }

  function draw({ levels, histogram, kept }) {
    const fits = LEVELS.slice(0, LEVELS.indexOf(level.value) + 1).reduce((sum, name) => sum + (levels[name] ?? 0), 0);
    const grave = [['ERROR', 'error'], ['WARN', 'warning']].filter(([name]) => levels[name] > 0).map(([name, noun]) => count(levels[name], noun));
    const text = `${count(fits, 'line')}${grave.length > 0 ? `, ${grave.join(', ')}` : ''}, of ${number(kept)} that are kept`;
    put(notice, text);
    const [since, until] = range;
    whole.hidden = since === null && until === null;
    put(whole, `${since === null ? '' : stamp(Date.parse(since))} to ${until === null ? 'now' : clock(Date.parse(until))}: show all`);
    const most = Math.max(1, ...histogram.map((part) => part.error + part.warn + part.info));
    const wide = WIDTH / Math.max(1, histogram.length);
    const bars = histogram.map((part, place) => {
      let below = 0;
      const pieces = ['error', 'warn', 'info'].map((name) => {
        const from = below;
        below += part[name];
        return svg('rect', { class: `level-${name}`, x: place * wide + 0.5, width: Math.max(0.5, wide - 1), y: HEIGHT * (1 - below / most), height: (HEIGHT * (below - from)) / most });
      });
      const next = histogram[place + 1]?.at ?? part.at + (part.at - (histogram[place - 1]?.at ?? part.at - 60_000));
      const choose = () => { range = [part.at, next - 1].map((at) => new Date(at).toISOString()); again(); };
      return svg('g', { click: choose }, svg('title', {}, `${stamp(part.at)}: ${count(part.error, 'error')}, ${count(part.warn, 'warning')}, ${number(part.info)} others`),
        svg('rect', { class: 'ground', x: place * wide, width: wide, y: 0, height: HEIGHT }), ...pieces);
    });
    picture.replaceChildren(...bars);
    picture.setAttribute('aria-label', `Lines by time: ${text}`);
    put(ends.firstElementChild, histogram.length > 0 ? `${stamp(histogram[0].at)} ${zone()}` : '');
    put(ends.lastElementChild, histogram.length > 1 ? stamp(histogram.at(-1).at) : '');
  }

  load();
  return { end() { ended = true; clearTimeout(timer); } };
}

/** Shows a line: its time, its level, its message and its fields. */
function row(line) {
  const fields = Object.entries(line.fields ?? {}).map(([name, value]) => h('span', {}, h('i', {}, `${name}=`), typeof value === 'string' ? value : JSON.stringify(value)));
  return h('li', { class: line.level.toLowerCase(), title: line.text }, h('time', { datetime: line.at }, stamp(Date.parse(line.at), true)), ' ',
    h('b', {}, line.level.padEnd(5)), ' ', line.node ? `${line.node}: ` : '', line.message ?? '', ...fields.flatMap((field) => [' ', field]), ' ', h('span', { class: 'quiet' }, line.target ?? ''));
}
