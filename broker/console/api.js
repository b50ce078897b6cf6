// Requests to the admin listener. The token, if one is wanted, is kept for this tab only and sent with each request. Who signs in
// with an account has a cookie instead, which no page sees.

const KEY = 'heliograph-token';

/** Takes a token out of `#token=…`, and out of the address bar: whether there was one. */
export function takeToken() {
  const given = /^#token=(.+)$/.exec(location.hash);
  if (given === null) return false;
  sessionStorage.setItem(KEY, decodeURIComponent(given[1]));
  history.replaceState(null, '', `${location.pathname}#/`);
  return true;
}

export function keepToken(token) {
  sessionStorage.setItem(KEY, token);
}

export function hasToken() {
  return sessionStorage.getItem(KEY) !== null;
}

export function forgetToken() {
  sessionStorage.removeItem(KEY);
}

/** The provider at which people sign in, and the account of this browser; null where only the token is taken. */
export async function accounts() {
  const response = await fetch('/account', { cache: 'no-store' }).catch(() => null);
  return response?.ok ? response.json() : null;
}

/** Ends the session of this browser: whether there is none any more. */
export async function signOut() {
  const response = await fetch('/account/sign-out', { method: 'POST' }).catch(() => null);
  return response !== null && (response.ok || response.status === 401);
}

let refused = () => {};

/** Calls this when the listener wants another token than the tab has. */
export function whenRefused(call) {
  refused = call;
}

/** Headers of a request: these, and the token. */
export function headers(more = {}) {
  const token = sessionStorage.getItem(KEY);
  return token === null ? more : { ...more, Authorization: `Bearer ${token}` };
}

/** Asks for a document: its status and its data, `{status: 0}` when nobody answers. */
export async function get(path, signal) {
  try {
    const response = await fetch(path, { headers: headers(), signal, cache: 'no-store' });
    if (response.status === 401) refused();
    const text = await response.text();
    return { status: response.status, text, data: parsed(text) };
  } catch {
    return { status: 0, data: { error: 'the broker does not answer' } };
  }
}

/** A document of JSON; an empty one for any other text. */
function parsed(text) {
  try { return JSON.parse(text); } catch { return {}; }
}

/**
 * The name of the tabs that the broker answers as it answers this one: nobody without this tab's token or account comes to know it.
 * Null where the browser has no locks for pages like this; undefined when nobody is let in.
 * @param {AbortSignal} signal
 */
export async function group(signal) {
  if (navigator.locks === undefined || globalThis.BroadcastChannel === undefined) return null;
  const token = sessionStorage.getItem(KEY);
  let own = null;
  while (token === null) {
    const { status, data } = await get('/config', signal);
    if (status === 401 || signal.aborted) return undefined;
    own = data.admin?.oidc ? (await accounts())?.account : null;
    if (status === 200 || status === 404) break; // for devices of the local network there is no such page
    await pause(1000, signal);
  }
  const text = JSON.stringify([token, own?.issuer, own?.subject]);
  const hash = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return `heliograph ${[...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/** Sends a document. */
export function post(path, body) {
  return send('POST', path, JSON.stringify(body));
}

/** Removes something. */
export function remove(path) {
  return send('DELETE', path);
}

async function send(method, path, body) {
  try {
    const response = await fetch(path, { method, headers: headers({ 'Content-Type': 'application/json' }), body });
    if (response.status === 401) refused();
    return { status: response.status, data: await response.json().catch(() => ({})) };
  } catch {
    return { status: 0, data: { error: 'the broker does not answer' } };
  }
}

/** Whether an answer says that this broker has no such page at all. */
export function isMissing(answer) {
  return answer.status === 404 && String(answer.data.error ?? '').startsWith('no such page');
}

/**
 * Keeps a stream of events open until `signal` ends it, and opens it again when it breaks.
 * @param {string} query what follows `/events?`
 * @param {(name: string, data: any) => void} on
 * @param {(state: 'open' | 'lost' | 'token' | 'refused', text?: string) => void} state
 * @param {AbortSignal} signal
 */
export async function stream(query, on, state, signal) {
  for (let failures = 0; !signal.aborted; failures += 1) {
    try {
      const response = await fetch(`/events?${query}`, { headers: headers(), signal, cache: 'no-store' });
      if (response.ok && response.body !== null) {
        failures = 0;
        state('open');
        await read(response.body, on);
        state('lost');
      } else {
        const text = (await response.json().catch(() => ({}))).error;
        state(response.status === 401 ? 'token' : 'refused', text);
        if (response.status === 401) return;
      }
    } catch {
      if (signal.aborted) return;
      state('lost');
    }
    await pause(Math.min(10_000, 500 * 2 ** failures), signal);
  }
}

async function read(body, on) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split('\n\n');
    rest = parts.pop() ?? '';
    for (const part of parts) dispatch(part, on);
  }
}

function dispatch(part, on) {
  let name = '';
  let data = '';
  for (const line of part.split('\n')) {
    if (line.startsWith('event: ')) name = line.slice(7);
    else if (line.startsWith('data: ')) data += line.slice(6);
  }
  if (name !== '' && data !== '') on(name, JSON.parse(data));
}

function pause(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', () => { clearTimeout(timer); done(undefined); }, { once: true });
  });
}
