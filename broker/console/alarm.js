// Says that there are problems to who looks elsewhere: the title and the icon of the tab, a sentence for readers of the screen, and
// a notification of the browser for who wants it.

import { count } from './format.js';
import { h } from './dom.js';

const KEY = 'heliograph-notify';
const said = /** @type {HTMLElement} */ (document.getElementById('said'));
const icon = /** @type {HTMLLinkElement} */ (document.querySelector('link[rel=icon]'));
/** Causes, and whether they go on. @type {Map<string, boolean> | null} */
let known = null;
let [name, open] = ['', 0];

/** The name of the page that is shown. */
export function titled(page) {
  name = page;
  document.title = `${open > 0 ? `(${open}) ` : ''}${name} – Heliograph`;
}

/** One sentence, read when its reader is free. */
export function say(text) {
  said.textContent = text;
}

/** The causes of this second; of each that begins one sentence. */
export function alarm({ problems, problemsOpen }) {
  if (problems === undefined) return;
  if (open !== problemsOpen) {
    open = problemsOpen;
    titled(name);
    icon.href = `/assets/icon${open > 0 ? '-alert' : ''}.svg`;
  }
  const begun = begins(known, problems);
  known = new Map([...(known ?? []), ...problems.map((one) => [one.id, one.ended === null])]);
  if (begun.length > 0) say(begun.map(sentence).join(' '));
  if (localStorage.getItem(KEY) !== 'yes' || !document.hidden) return;
  try {
    for (const one of begun) new Notification(one.title, { body: `${one.says} ${one.do}`, tag: one.id, icon: '/assets/icon-alert.svg' });
  } catch {
    localStorage.setItem(KEY, 'no'); // a phone's browser has the name alone
  }
}

/** Causes that go on and did not before; none of those that a page begins with, or that are known to the operator. Pure. */
export function begins(before, problems) {
  return before === null ? [] : problems.filter((one) => one.ended === null && one.known === null && !before.get(one.id));
}

const sentence = (one) => `New problem: ${one.title}${one.channels > 1 ? `, ${count(one.channels, 'channel')}` : ''}.`;

/** The switch of notifications; null where the browser has none. */
export function notifier() {
  if (!('Notification' in globalThis)) return null;
  const button = h('button', { type: 'button', class: 'small', click: async () => {
    const isOn = localStorage.getItem(KEY) !== 'yes' && await Notification.requestPermission() === 'granted';
    localStorage.setItem(KEY, isOn ? 'yes' : 'no');
    show();
  } }, 'Notify me of problems');
  const show = () => button.setAttribute('aria-pressed', String(localStorage.getItem(KEY) === 'yes' && Notification.permission === 'granted'));
  show();
  return button;
}
