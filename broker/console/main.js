// The frame of the console: the page that is shown, the stream that feeds it, the search box, the colours, and the
// token.

import { accounts, forgetToken, get, hasToken, keepToken, signOut, takeToken, whenRefused } from './api.js';
import { alarm, say, titled } from './alarm.js';
import { h, put } from './dom.js';
import { channelPath, count, isName, kindOf, partsOf, useUtc, zone } from './format.js';
import { concerns, reduce, route, start } from './state.js';
import { Feed } from './tabs.js';

/** The pages, each with the files that only it needs. */
const pages = {
  overview: () => import('./views/overview.js'), channels: () => import('./views/channels.js'), channel: () => import('./views/channel.js'),
  session: () => import('./views/session.js'), why: () => import('./views/why.js'), find: () => import('./views/find.js'),
  history: () => import('./views/history.js'), log: () => import('./views/log.js'), cluster: () => import('./views/cluster.js'), dev: () => import('./views/dev.js'),
};
const main = /** @type {HTMLElement} */ (document.getElementById('main'));
const pill = /** @type {HTMLElement} */ (document.getElementById('status'));
const query = /** @type {HTMLInputElement} */ (document.getElementById('query'));

let state = start;
/** @type {{update?: (state: any) => void, end?: () => void}} */
let view = {};
let open = new AbortController();
let asksForToken = false;
/** @type {string[]} */
let topics = [];
const feed = new Feed(happened, connected);
/** Storage key of the page from which somebody left to sign in. */
const PLACE = 'heliograph-place';

async function show() {
  const { page, name, parameters } = route(location.hash);
  open.abort();
  open = new AbortController();
  view.end?.();
  view = {};
  asksForToken = false;
  main.dataset.page = page;
  state = { ...state, channel: null, refusals: null, presence: null };
  for (const link of document.querySelectorAll('nav a')) {
    const here = link.getAttribute('data-page') === (page === 'channel' ? 'channels' : page);
    if (here) link.setAttribute('aria-current', 'page'); else link.removeAttribute('aria-current');
  }
  titled(name || page[0].toUpperCase() + page.slice(1));
  main.replaceChildren();
  if (!(page in pages)) {
    main.append(h('h1', {}, 'Page not found'), h('p', { class: 'notice' }, 'The console has no page at this address. ', h('a', { href: '#/' }, 'Overview')));
    return;
  }
  const { signal } = open;
  const found = await pages[page]().catch(() => null);
  if (signal.aborted) return;
  if (found === null) { main.append(h('p', { class: 'notice' }, 'The broker does not answer.')); return; }
  view = found[page](main, { name, parameters, node: () => state.node, again: show });
  view.update?.(state);
  const own = { channels: ['presence'], why: ['refusals'],
    channel: isName(name) ? [`channel:${channelTopic(name, parameters)}`] : [] };
  topics = ['overview', ...(own[page] ?? [])];
  feed.want(topics);
}

/** Names a channel by its name alone if it is in this node's region and account, and otherwise with both in front. */
function channelTopic(name, parameters) {
  const [region, account] = ['region', 'account'].map((key) => parameters.get(key));
  return region === null || account === null ? name : `${region}/${account}/${name}`;
}

function happened(name, data) {
  if (!concerns(topics, state.node, name, data)) return;
  state = reduce(state, name, data);
  if (name === 'snapshot' || name === 'overview' || name === 'draining') {
    const problems = state.now?.problemsOpen ?? 0;
    status(state.status === 'ok' && problems > 0 ? count(problems, 'problem') : state.status);
    alarm(state.now ?? {});
  }
  for (const part of document.querySelectorAll('[data-dev]')) /** @type {HTMLElement} */ (part).hidden = !state.node?.dev;
  const named = /** @type {HTMLElement} */ (document.getElementById('node'));
  named.hidden = !state.node?.name;
  put(named, state.node?.name ?? '');
  for (const part of document.querySelectorAll('[data-cluster]')) /** @type {HTMLElement} */ (part).hidden = !state.node?.name;
  for (const part of document.querySelectorAll('[data-try]')) /** @type {HTMLElement} */ (part).hidden = !state.node?.try;
  view.update?.(state);
  if (name === 'snapshot' && state.node?.accounts) showAccount();
}

function connected(how, text) {
  if (how !== 'token') document.body.classList.toggle('lost', how !== 'open');
  if (how === 'token') askForToken();
  else if (how === 'refused') status(text ?? 'refused');
  else if (how === 'lost') status('not connected');
}

function status(word) {
  if (word !== pill.textContent && !/^(ok|connecting|\d+ problems?)$/.test(word)) say(`The broker: ${word}.`);
  put(pill, word);
  pill.className = `pill ${word === 'ok' ? 'good' : word === 'draining' || word === 'connecting' ? 'warn' : 'bad'}`;
}

/** Shows who is signed in, and a way to sign out. */
async function showAccount() {
  const own = hasToken() ? null : (await accounts())?.account;
  const part = /** @type {HTMLElement} */ (document.getElementById('account'));
  part.hidden = !own;
  part.title = own ? `${own.subject} at ${own.issuer}` : '';
}
document.getElementById('account')?.addEventListener('click', async () => { if (await signOut()) { feed.signOut(); askForToken(); } });

/** If accounts are accepted, offers the way to the provider above the token. */
async function offerAccount(form) {
  const provider = (await accounts())?.provider;
  if (!provider) return;
  const keep = () => sessionStorage.setItem(PLACE, location.hash);
  form.firstElementChild.after(h('h2', {}, 'Account'), h('a', { class: 'main', href: '/account/sign-in', click: keep }, `Sign in with ${provider}`));
}

/** Returns to the page from which somebody left for the provider. */
function takePlace() {
  const place = sessionStorage.getItem(PLACE);
  sessionStorage.removeItem(PLACE);
  if (place?.startsWith('#/') && location.hash === '') history.replaceState(null, '', place);
}

function askForToken() {
  if (asksForToken) return;
  asksForToken = true;
  open.abort();
  feed.leave();
  status('token wanted');
  const token = /** @type {HTMLInputElement} */ (h('input', { type: 'password', id: 'token', required: true,
    autocomplete: 'current-password', 'aria-describedby': 'token-help' }));
  const fault = h('p', { class: 'fault', role: 'alert' }, hasToken() ? 'The token in this tab is not valid for this broker: it '
    + 'may have changed.' : '');
  forgetToken();
  const form = h('form', { class: 'card login', submit: async (event) => {
    event.preventDefault();
    keepToken(token.value);
    const { status: answered, data } = await get('/overview');
    if (answered === 200) { show(); return; }
    forgetToken();
    put(fault, answered === 401 ? 'This token is not valid for this broker.' : data.error ?? `status ${answered}`);
  } }, h('h1', {}, 'Sign in'), h('h2', {}, 'Admin token'), h('label', { for: 'token' }, 'Token of this broker'), token,
  h('p', { class: 'quiet', id: 'token-help' }, 'The content of the file named by [admin] token_file. It stays in this tab.'),
  h('button', { class: 'main' }, 'Continue'), fault);
  view.end?.();
  view = {};
  main.replaceChildren(form);
  /** @type {HTMLElement} */ (document.getElementById('account')).hidden = true;
  offerAccount(form);
  token.focus();
}
whenRefused(askForToken);

/**
 * Opens what is searched for: a refusal, a channel that exists or was refused, or everything with this text in its
 * name.
 */
async function search(text) {
  const kind = kindOf(text);
  const name = kind === 'arn' ? partsOf(text).name : text;
  const place = kind === 'arn' ? `?region=${partsOf(text).region}&account=${partsOf(text).account}` : '';
  if (kind === 'id') { location.hash = `#/why/${encodeURIComponent(text)}`; return; }
  if (isName(name)) {
    const channel = `#/channels/${encodeURIComponent(name)}${place}`;
    if ((await get(`${channelPath(name)}${place}`)).status === 200) { location.hash = channel; return; }
    const refused = await get(`/refusals/groups?limit=1&channel=${encodeURIComponent(name)}`);
    if (refused.data.groups?.length) { location.hash = channel; return; }
  }
  location.hash = `#/find/${encodeURIComponent(name)}`;
}

document.getElementById('find')?.addEventListener('submit', (event) => {
  event.preventDefault();
  const text = query.value.trim();
  if (text !== '') search(text);
  query.blur();
});

document.addEventListener('keydown', (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.key !== '/' || event.ctrlKey || event.metaKey || target.matches('input, textarea, select')) return;
  event.preventDefault();
  query.focus();
  query.select();
});

const theme = /** @type {HTMLElement} */ (document.getElementById('theme'));
function paint(name) {
  document.documentElement.setAttribute('data-theme', name);
  const other = name === 'dark' ? 'Light colours' : 'Dark colours';
  theme.setAttribute('aria-label', other);
  theme.setAttribute('title', other);
}
theme.addEventListener('click', () => {
  const next = document.documentElement.getAttribute('data-theme') === 'dark' ? 'light' : 'dark';
  localStorage.setItem('heliograph-theme', next);
  paint(next);
});
const system = matchMedia('(prefers-color-scheme: dark)');
const paintChosen = () => paint(localStorage.getItem('heliograph-theme') ?? (system.matches ? 'dark' : 'light'));
system.addEventListener('change', paintChosen);
paintChosen();

const zones = /** @type {HTMLElement} */ (document.getElementById('zone'));
function setZone(name) {
  useUtc(name === 'utc');
  put(zones, zone());
  zones.setAttribute('title', name === 'utc' ? 'Times are in UTC: show those of this place' : 'Times are those of this place: show UTC');
}
zones.addEventListener('click', () => {
  const next = localStorage.getItem('heliograph-zone') === 'utc' ? 'local' : 'utc';
  localStorage.setItem('heliograph-zone', next);
  setZone(next);
  show();
});
setZone(localStorage.getItem('heliograph-zone'));
document.getElementById('skip')?.addEventListener('click', () => main.focus());

takeToken();
takePlace();
window.addEventListener('hashchange', () => { if (takeToken()) feed.leave(); show(); main.focus({ preventScroll: true }); });
show();
