// Requests to the admin listener. If a token is required, it is stored for this tab only and sent with each request.
// People who sign in with an account have a cookie instead, which pages cannot read.

const KEY = 'heliograph-token';

/** Takes the token from `#token=…` and removes it from the address bar. Returns whether there was one. */
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

/**
 * Returns the provider where people sign in, and the account of this browser. Returns null if only the token is
 * accepted.
 */
export async function accounts() {
  const response = await fetch('/account', { cache: 'no-store' }).catch(() => null);
  return response?.ok ? response.json() : null;
}

/** Ends the session of this browser. Returns whether it has no session any more. */
export async function signOut() {
  const response = await fetch('/account/sign-out', { method: 'POST' }).catch(() => null);
  return response !== null && (response.ok || response.status === 401);
}

let refused = () => {};

/** Sets the function to call when the listener requires a different token than this tab has. */
export function whenRefused(call) {
  refused = call;
}

/** Returns the given headers together with that of the token. */
export function headers(more = {}) {
  const token = sessionStorage.getItem(KEY);
  return token === null ? more : { ...more, Authorization: `Bearer ${token}` };
}

/** Fetches a document. Returns its status and data, or `{status: 0}` if nothing answers. */
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

/** Parses JSON. Returns an empty document for any other text. */
function parsed(text) {
  try { return JSON.parse(text); } catch { return {}; }
}

/**
 * Returns the name of the group of tabs to which the broker gives the same answers as to this tab. Nobody can find out
 * the name without this tab's token or account. Returns null if the browser has no locks for such pages, and undefined
 * if access is denied.
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
    if (status === 200 || status === 404) break; // devices on the local network have no such page
    await pause(1000, signal);
  }
  const text = JSON.stringify([token, own?.issuer, own?.subject]);
  const hash = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return `heliograph ${[...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/** Posts a document. */
export function post(path, body) {
  return send('POST', path, JSON.stringify(body));
}

/** Sends a DELETE request. */
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

/** Returns whether an answer means that this broker does not have this page at all. */
export function isMissing(answer) {
  return answer.status === 404 && String(answer.data.error ?? '').startsWith('no such page');
}

/**
 * Keeps an event stream open until `signal` aborts it. If the stream breaks, opens it again.
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
