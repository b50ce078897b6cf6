// Tells people who are looking elsewhere that there are problems: by the title and icon of the tab, by a sentence for
// screen readers and, if wanted, by a notification of the browser.

import { count } from './format.js';
import { h } from './dom.js';

const KEY = 'heliograph-notify';
const said = /** @type {HTMLElement} */ (document.getElementById('said'));
const icon = /** @type {HTMLLinkElement} */ (document.querySelector('link[rel=icon]'));
/** Known causes, and whether each is still open. @type {Map<string, boolean> | null} */
let known = null;
let [name, open] = ['', 0];

/** Sets the name of the page that is shown. */
export function titled(page) {
  name = page;
  document.title = `${open > 0 ? `(${open}) ` : ''}${name} – Heliograph`;
}

/** Announces a sentence, which screen readers read when they are idle. */
export function say(text) {
  said.textContent = text;
}

/** Takes the current causes. Announces each cause that has begun. */
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
    localStorage.setItem(KEY, 'no'); // browsers on phones define the name, but the constructor throws
  }
}

/**
 * Returns the open causes that were not open before. Leaves out those that a page starts with and those that the
 * operator has marked as known. Pure.
 */
export function begins(before, problems) {
  return before === null ? [] : problems.filter((one) => one.ended === null && one.known === null && !before.get(one.id));
}

const sentence = (one) => `New problem: ${one.title}${one.channels > 1 ? `, ${count(one.channels, 'channel')}` : ''}.`;

/** Creates the switch for notifications. Returns null if the browser has none. */
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
