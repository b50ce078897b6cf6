// Creates elements by plain function calls. Text is always set as text, whatever clients put into their names.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * Creates an element. A property that is a function becomes the listener for the event of that name.
 * @param {string} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node | string | number | null | undefined)} children
 * @returns {HTMLElement}
 */
export function h(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** Creates an SVG element. */
export function svg(tag, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

/** Creates the elements of a picture drawn by the broker, which is a tree of `[tag, {attributes}, children…]`. */
export const drawn = ([tag, properties, ...children]) => svg(tag, properties, ...children.map((child) => (Array.isArray(child) ? drawn(child) : child)));

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (typeof value === 'boolean') element.toggleAttribute(name, value);
    else if (value !== undefined && value !== null) element.setAttribute(name, String(value));
  }
  for (const child of children) {
    if (child !== null && child !== undefined) element.append(child);
  }
  return element;
}

/** Sets a text, but only if it differs, so that the browser need not lay it out again. */
export function put(element, text) {
  const next = String(text);
  if (element.textContent !== next) element.textContent = next;
}

/**
 * Updates rows by key. Rows whose key remains are kept, and with them the focus.
 * @param {HTMLElement} parent
 * @param {any[]} items
 * @param {(item: any) => string} key
 * @param {(item: any) => HTMLElement} make
 * @param {(row: HTMLElement, item: any) => void} update
 */
export function keyed(parent, items, key, make, update) {
  const old = new Map([...parent.children].map((row) => [row.getAttribute('data-key'), row]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let row = old.get(name);
    old.delete(name);
    if (row === undefined) {
      row = make(item);
      row.setAttribute('data-key', name);
    }
    if (row === place) place = place.nextElementSibling;
    else parent.insertBefore(row, place);
    update(/** @type {HTMLElement} */ (row), item);
  }
  for (const row of old.values()) row.remove();
}

/** Creates a table with these headings. A heading that begins with `#` marks a column of numbers. */
export function table(headings, caption) {
  const cells = headings.map((name) => {
    const number = name.startsWith('#');
    return h('th', { scope: 'col', class: number ? 'number' : null }, number ? name.slice(1) : name);
  });
  const body = h('tbody');
  const whole = h('table', {}, h('caption', { class: 'unseen' }, caption), h('thead', {}, h('tr', {}, ...cells)), body);
  return { whole: h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption }, whole), body };
}

/** Creates a card with a heading. */
export function card(title, ...content) {
  return h('section', { class: 'card' }, title === null ? null : h('h2', {}, title), ...content);
}

/** Creates a button that copies a text and reports on its label that it has done so. */
export function copier(label, read) {
  const button = h('button', { type: 'button', click: async () => {
    try {
      await navigator.clipboard.writeText(await read());
      put(button, 'Copied');
    } catch {
      put(button, 'Not allowed');
    }
    setTimeout(() => put(button, label), 1500);
  } }, label);
  return button;
}
