// One event stream for all tabs of this browser that the broker answers alike: of one token, of one account, or of neither. The tab
// that holds the group's lock reads the stream, of all topics that any of them wants, and passes it on by messages; the token is in
// none. A reader that is silent is replaced. Where a browser has no locks (plain HTTP beyond loopback), each tab has a stream of its
// own while it is shown.

import { group, stream } from './api.js';

/** Between two signs of life of a reader, and two looks at it. */
const BEAT_MS = 500;
/** Silence after which a reader is replaced, and the most that a tab adds to it, so that not all try at once. */
const [SILENT_MS, APART_MS] = [2500, 500];
/** A tab that slept longer than this has not listened. */
const SLEPT_MS = 2000;
/** What tabs want is gathered so long before a stream begins. */
const GATHER_MS = 50;
/** Channels of one stream: those of the tabs that asked last. */
const CHANNELS = 8;
/** Between two questions what tabs want; one that does not answer is gone. */
const ASK_EVERY_MS = 30_000;

/** This tab's way to the events: `happened(name, data)` gets each, `connected(how, text)` the state of the stream. */
export class Feed {
  constructor(happened, connected) {
    const [id, apart] = [`${Math.random()}`, APART_MS * Math.random()];
    Object.assign(this, { happened, connected, id, apart, topics: [], name: null, leads: false, how: {} });
    addEventListener('pagehide', () => this.leave());
    addEventListener('pageshow', (event) => { if (event.persisted && this.topics.length > 0) this.join(); });
    document.addEventListener('visibilitychange', () => {
      if (this.name === null && this.topics.length > 0) { if (document.hidden) this.leave(); else this.join(); }
    });
  }

  /** The topics of the page that is shown from here on. */
  want(topics) {
    const isNew = topics.some((topic) => !this.topics.includes(topic));
    this.topics = topics;
    if (this.channel === undefined) this.join(); else this.wish(isNew);
  }

  async join() {
    this.leave();
    const going = this.going = new AbortController();
    const name = await group(going.signal);
    if (going.signal.aborted || name === undefined) return;
    this.name = name;
    if (name === null) { if (!document.hidden) this.read(this.topics); return; }
    this.channel = new BroadcastChannel(name);
    this.channel.addEventListener('message', ({ data }) => this.hear(data));
    this.heardAt = this.tickedAt = performance.now();
    const timer = setInterval(() => this.tick(), BEAT_MS);
    going.signal.addEventListener('abort', () => clearInterval(timer));
    this.wish(true);
    this.queue(going.signal);
  }

  /** Ends what this tab has of the stream. */
  leave() {
    this.channel?.postMessage({ id: this.id, topics: [] });
    this.channel?.close();
    this.channel = undefined;
    this.going?.abort();
    this.rest();
  }

  /** All tabs of the group want another token. */
  signOut() {
    this.channel?.postMessage({ how: { how: 'token' } });
  }

  /** Waits for the lock and holds it: for the tab that reads to end, or not any longer. */
  async queue(signal, steal = false) {
    this.waits?.abort();
    const waits = this.waits = new AbortController();
    signal.addEventListener('abort', () => waits.abort());
    await navigator.locks.request(this.name, steal ? { steal } : { signal: waits.signal }, () => this.lead(signal)).catch(() => undefined);
    if (waits.signal.aborted) return;
    // Replaced: another tab found this one silent.
    this.rest();
    this.wish(true);
    this.queue(signal);
  }

  /** Reads for all, until this tab leaves. */
  lead(signal) {
    Object.assign(this, { leads: true, wants: new Map(), askedAt: 0 });
    this.tick();
    this.gather(true);
    return new Promise((done) => signal.addEventListener('abort', done));
  }

  /** Reads no longer. */
  rest() {
    this.leads = false;
    this.open?.abort();
    clearTimeout(this.gathers);
    [this.gathers, this.union] = [0, ''];
  }

  wish(isNew) {
    if (this.leads) this.gather(isNew); else this.channel?.postMessage({ id: this.id, topics: this.topics, isNew });
  }

  /** Begins a stream of all that is wanted, if that has changed or a tab begins with it. */
  gather(isNew) {
    this.begins ||= isNew;
    this.gathers ||= setTimeout(() => {
      const all = [...new Set([...this.wants.values(), this.topics].flat())];
      const channels = all.filter((topic) => topic.includes(':')).slice(-CHANNELS);
      const topics = [...all.filter((topic) => !topic.includes(':')), ...channels].sort();
      const changes = this.begins || topics.join() !== this.union;
      [this.gathers, this.begins, this.union] = [0, false, topics.join()];
      if (changes) this.read(topics);
    }, GATHER_MS);
  }

  read(topics) {
    this.open?.abort();
    this.open = new AbortController();
    const { signal } = this.open;
    stream(new URLSearchParams({ topics: topics.join() }).toString(), (name, data) => {
      if (signal.aborted) return;
      this.channel?.postMessage({ name, data });
      this.happened(name, data);
    }, (how, text) => {
      this.how = { how, text };
      this.channel?.postMessage({ how: this.how });
      this.connected(how, text);
    }, signal);
  }

  tick() {
    const now = performance.now();
    if (now - this.tickedAt > SLEPT_MS) this.heardAt = now;
    this.tickedAt = now;
    if (this.leads) {
      const asks = now - this.askedAt > ASK_EVERY_MS || this.askedAt === 0;
      if (asks) {
        this.silent?.forEach((id) => this.wants.delete(id));
        [this.askedAt, this.silent] = [now, new Set(this.wants.keys())];
      }
      this.channel.postMessage({ how: this.how, asks });
    } else if (now - this.heardAt > SILENT_MS + this.apart) {
      this.heardAt = now;
      this.queue(this.going.signal, true);
    }
  }

  /** A message of another tab. */
  hear({ id, topics, isNew, how, asks, name, data }) {
    if (topics !== undefined) {
      if (!this.leads) return;
      this.silent?.delete(id);
      if (isNew || topics.length === 0) this.wants.delete(id); // the last that asked is the last of the map
      if (topics.length > 0) this.wants.set(id, topics);
      this.gather(isNew);
      return;
    }
    if (this.leads && how?.how !== 'token') return; // of one that does not know yet that it was replaced
    this.heardAt = performance.now();
    if (asks) this.wish(false);
    if (name !== undefined) this.happened(name, data);
    if (how?.how !== undefined) this.connected(how.how, how.text);
  }
}
