// Faults that tests set: a list of them, and a form that writes the next one as JSON, which can be edited and is sent.

import { get, post, remove } from '../api.js';
import { card, h, keyed, put, table } from '../dom.js';
import { number } from '../format.js';

/** Members of a match that can be any text. All others come from the fixed sets in `/dev/faults/allowed`. */
const PATTERNS = { channel: 'Channel', clientId: 'Client id' };
const SETS = { role: 'Role', operation: 'Operation', action: 'Message' };

export function faults() {
  const rows = table(['Fault', 'Matches', 'Does', '#Hits', 'Remove'], 'Faults');
  const notice = h('p', { class: 'quiet', role: 'status' }, 'Loading …');
  const text = /** @type {HTMLTextAreaElement} */ (h('textarea', { id: 'fault', rows: 3, spellcheck: 'false' }));
  const choice = chooser((parts) => { text.value = JSON.stringify(merged(text.value, parts)); });
  const form = h('form', { class: 'stack', hidden: true, submit: async (event) => {
    event.preventDefault();
    let fault;
    try { fault = JSON.parse(text.value); } catch (error) { put(notice, `not JSON: ${error.message}`); return; }
    const { status, data } = await post('/dev/faults', fault);
    put(notice, status === 201 ? `${data.id} is set.` : data.error ?? `status ${status}`);
  } }, choice.whole, h('div', {}, h('label', { for: 'fault' }, 'The fault that is set, as JSON'), text),
  h('div', { class: 'row' }, h('button', { class: 'main' }, 'Set')));

  return {
    whole: card('Faults', rows.whole, form, notice),
    async load() {
      const { status, data } = await get('/dev/faults');
      if (status === 200) await choice.load();
      form.hidden = status !== 200;
      rows.whole.hidden = status !== 200 || data.faults.length === 0;
      if (status !== 200) { put(notice, status === 404 ? 'Not available.' : data.error); return; }
      if (notice.textContent === 'Loading …') put(notice, '');
      keyed(rows.body, data.faults, (one) => one.id, (one) => h('tr', {}, h('th', { scope: 'row' }, `${one.id} on ${one.on}`),
        h('td', {}, h('code', {}, JSON.stringify(one.match ?? {}))), h('td', {}, h('code', {}, JSON.stringify(one.do ?? {}))),
        h('td', { class: 'number' }), h('td', {}, h('button', { type: 'button', class: 'small', 'aria-label': `Remove ${one.id}`,
          click: () => remove(`/dev/faults/${encodeURIComponent(one.id)}`) }, 'Remove'))),
      (row, one) => put(row.children[3], number(one.hits)));
    },
  };
}

/** Replaces these members of the fault. Anything else that was written by hand stays. */
function merged(text, parts) {
  let fault;
  try { fault = JSON.parse(text); } catch { fault = null; }
  const { on: _, match: __, do: ___, ...rest } = fault?.constructor === Object ? fault : { times: 1 };
  return { ...parts, ...rest };
}

/**
 * Creates three selects, and a field for the text of a pattern. When one is changed, `write` gets `on`, `match` and
 * `do`.
 */
function chooser(write) {
  const [on, match, act] = ['fault-on', 'fault-match', 'fault-do'].map((id) =>
    /** @type {HTMLSelectElement} */ (h('select', { id, input: (event) => chosen(event.target) })));
  const pattern = /** @type {HTMLInputElement} */ (h('input', { id: 'fault-pattern', autocomplete: 'off', spellcheck: 'false',
    maxlength: 256, placeholder: 'cam-*', input: () => chosen(pattern) }));
  const named = h('div', { hidden: true }, h('label', { for: 'fault-pattern' }, 'Pattern, * is any text'), pattern);
  const whole = h('div', { class: 'choices' }, h('div', {}, h('label', { for: 'fault-on' }, 'On'), on),
    h('div', {}, h('label', { for: 'fault-match' }, 'Matches'), match), named, h('div', {}, h('label', { for: 'fault-do' }, 'Does'), act));
  /** @type {any} */
  let allowed = null;

  function chosen(part) {
    if (part === on) offer();
    named.hidden = !(match.value in PATTERNS);
    const [key, value] = match.value.split('=');
    const matches = key in PATTERNS ? { [key]: pattern.value || '*' } : key === '' ? undefined : { [key]: value };
    write({ on: on.value, match: matches, do: JSON.parse(act.value) });
  }

  /** Offers what is possible where the fault acts. The current choice is kept if it is possible. */
  function offer() {
    const { match: keys, do: acts } = allowed.on.find(({ name }) => name === on.value);
    const [matched, done] = [match.value, act.value];
    const texts = keys.filter((key) => key in PATTERNS);
    match.replaceChildren(option('', 'everything'), ...texts.map((key) => option(key, `${PATTERNS[key]} …`)),
      ...keys.filter((key) => key in SETS).map((key) =>
        h('optgroup', { label: SETS[key] }, ...allowed[key].map((value) => option(`${key}=${value}`, value)))));
    act.replaceChildren(...acts.map((one) => option(JSON.stringify(one), typeof one === 'string' ? one : Object.keys(one)[0])));
    keep(match, matched);
    keep(act, done);
  }

  return {
    whole,
    async load() {
      if (allowed !== null) return;
      const { status, data } = await get('/dev/faults/allowed');
      if (status !== 200 || allowed !== null) return;
      allowed = data;
      on.append(...allowed.on.map(({ name }) => option(name, name)));
      chosen(on);
    },
  };
}

const option = (value, text) => h('option', { value }, text);

function keep(select, value) {
  if ([...select.options].some((one) => one.value === value)) select.value = value;
}
