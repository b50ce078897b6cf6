// The end of the log, as it is written.

import { copier, h, put } from '../dom.js';

const SHOWN = 500;
const LEVELS = ['ERROR', 'WARN', 'INFO', 'DEBUG', 'TRACE'];

export function log(root) {
  const text = /** @type {HTMLInputElement} */ (h('input', { type: 'search', id: 'text', autocomplete: 'off', spellcheck: 'false',
    placeholder: 'contains …' }));
  const level = /** @type {HTMLSelectElement} */ (h('select', { id: 'level' },
    ...LEVELS.map((name) => h('option', { value: name, selected: name === 'INFO' }, name.toLowerCase()))));
  const pause = h('button', { type: 'button', 'aria-pressed': 'false', click: () => {
    paused = paused === null ? lines : null;
    pause.setAttribute('aria-pressed', String(paused !== null));
    put(pause, paused === null ? 'Pause' : 'Resume');
    draw();
  } }, 'Pause');
  const output = h('ol', { class: 'log', tabindex: '0', 'aria-label': 'Log lines' });
  const notice = h('p', { class: 'quiet' });
  root.append(h('h1', {}, 'Log'), h('div', { class: 'card' }, h('div', { class: 'row' },
    h('label', { for: 'level' }, 'Level'), level, h('label', { for: 'text', class: 'unseen' }, 'Text'), text, pause,
    copier('Copy', () => chosen().map((line) => line.text).join('\n'))), output, notice));

  let lines = [];
  /** @type {any[] | null} */
  let paused = null;
  let dropped = 0;
  let timer = 0;

  function chosen() {
    const most = LEVELS.indexOf(level.value);
    const wanted = text.value.toLowerCase();
    return (paused ?? lines).filter((line) => LEVELS.indexOf(line.level) <= most && line.text.toLowerCase().includes(wanted));
  }

  function draw() {
    timer = 0;
    const all = chosen();
    const follow = output.scrollTop + output.clientHeight >= output.scrollHeight - 20;
    output.replaceChildren(...all.slice(-SHOWN).map((line) => h('li', { class: line.level.toLowerCase() }, line.text)));
    if (follow) output.scrollTop = output.scrollHeight;
    put(notice, `${all.length > SHOWN ? `The last ${SHOWN} of ${all.length}` : all.length} lines`
      + (dropped > 0 ? `; ${dropped} more were skipped, too many at once` : ''));
  }

  text.addEventListener('input', draw);
  level.addEventListener('change', draw);
  return {
    update(state) {
      if (state.lines === lines) return;
      ({ lines, dropped } = state);
      if (timer === 0 && paused === null) timer = setTimeout(draw, 100);
    },
    end() { clearTimeout(timer); },
  };
}
