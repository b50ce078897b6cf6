// Elements by plain calls: text is always text, whatever a client wrote into its names.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * Makes an element. A property that is a function listens to the event of that name.
 * @param {string} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node | string | number | null | undefined)} children
 * @returns {HTMLElement}
 */
export function h(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function svg(tag, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

/** A picture that the broker has drawn: a tree of `[tag, {attributes}, children…]`. */
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

/** Sets a text only if it differs, so that nothing is laid out for nothing. */
export function put(element, text) {
  const next = String(text);
  if (element.textContent !== next) element.textContent = next;
}

/**
 * Rows by key: those that stay are kept, with what has the focus in them.
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

/** A table whose headings are given; numbers are columns that begin with `#`. */
export function table(headings, caption) {
  const cells = headings.map((name) => {
    const number = name.startsWith('#');
    return h('th', { scope: 'col', class: number ? 'number' : null }, number ? name.slice(1) : name);
  });
  const body = h('tbody');
  const whole = h('table', {}, h('caption', { class: 'unseen' }, caption), h('thead', {}, h('tr', {}, ...cells)), body);
  return { whole: h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption }, whole), body };
}

/** A card with a heading. */
export function card(title, ...content) {
  return h('section', { class: 'card' }, title === null ? null : h('h2', {}, title), ...content);
}

/** Copies a text, and says so on the button. */
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
