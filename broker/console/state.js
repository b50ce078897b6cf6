// The state that the pages show, as a function of the events. Pure.

/** The number of points in an hour, with one point every two seconds. */
const POINTS = 1800;

export const start = { node: null, status: 'connecting', now: null, history: null, channel: null,
  refusals: null, presence: null };

/** Maximum number of refusals on a page. */
const REFUSALS = 500;

/** Returns the state after an event of the stream. */
export function reduce(state, name, data) {
  switch (name) {
    case 'snapshot':
      if (data.topic === 'overview') {
        const { problems, problemsOpen } = data;
        return { ...state, node: data.node, status: data.status, now: { problems, problemsOpen, ...data.now }, history: data.history };
      }
      if (data.topic === 'refusals') return { ...state, refusals: data };
      return state;
    case 'overview': {
      const status = data.status ?? (data.draining ? 'draining' : state.status);
      return { ...state, status, now: data, history: extended(state.history, data) };
    }
    case 'draining':
      return { ...state, status: 'draining' };
    case 'refusal': {
      if (state.refusals === null) return state;
      const { refusals, kept } = state.refusals;
      return { ...state, refusals: { ...state.refusals, refusals: [data, ...refusals.slice(0, REFUSALS - 1)], kept: kept + 1 } };
    }
    case 'presence':
    case 'resync':
      return { ...state, presence: name === 'presence' ? data : {} };
    case 'channel':
      return { ...state, channel: { ...data, at: Date.now() } };
    default:
      return state;
  }
}

/** The topic of an event, by its name. Events that are not listed belong to no topic. */
const TOPICS = { refusal: 'refusals', presence: 'presence', resync: 'presence' };

/** Returns whether an event concerns a page with these topics. A stream also carries the topics of other tabs. */
export function concerns(topics, node, name, data) {
  if (name === 'snapshot') return topics.includes(data.topic);
  if (name !== 'channel') return TOPICS[name] === undefined || topics.includes(TOPICS[name]);
  const isHome = node === null || data.region === node.region && data.account === node.accountId;
  return topics.includes(`channel:${data.region}/${data.account}/${data.name}`) || isHome && topics.includes(`channel:${data.name}`);
}

/** Returns the history with one more point, unless its last point is less than two seconds old. */
export function extended(history, now) {
  if (history === null || now.t - (history.t.at(-1) ?? 0) < 1900) return history;
  const sum = Object.values(now.refusedPerSecond).reduce((all, one) => all + one, 0);
  const point = {
    t: now.t,
    messagesPerSecond: now.messagesPerSecond,
    deliveryP50Us: now.deliveryUs.p50,
    deliveryP99Us: now.deliveryUs.p99,
    setupP50Ms: now.setupMs.p50,
    setupP99Ms: now.setupMs.p99,
    refusedPerSecond: sum,
    masters: now.connections.master,
    viewers: now.connections.viewer,
  };
  const names = Object.keys(history).filter((name) => name in point);
  return Object.fromEntries(names.map((name) => [name, [...history[name].slice(1 - POINTS), point[name]]]));
}

/** Returns the page and the parameters in a hash such as `#/channels/NAME?region=…`. */
export function route(hash) {
  const [path, query = ''] = hash.replace(/^#\/?/, '').split('?');
  const parts = path.split('/').map((part) => { try { return decodeURIComponent(part); } catch { return part; } });
  const parameters = new URLSearchParams(query);
  switch (parts[0]) {
    case '': return { page: 'overview', name: '', parameters };
    case 'channels': return parts[1] ? { page: 'channel', name: parts[1], parameters }
      : { page: 'channels', name: '', parameters };
    case 'find': return { page: 'find', name: parts[1] ?? '', parameters };
    case 'why': return { page: 'why', name: parts[1] ?? '', parameters };
    case 'session': return { page: 'session', name: `${parts[1] ?? ''}/${parts[2] ?? ''}`, parameters };
    case 'history': return { page: 'history', name: '', parameters };
    case 'log': return { page: 'log', name: '', parameters };
    case 'cluster': return { page: 'cluster', name: '', parameters };
    case 'dev': return { page: 'dev', name: '', parameters };
    default: return { page: 'absent', name: '', parameters };
  }
}
