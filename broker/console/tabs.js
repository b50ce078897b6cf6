// All tabs of this browser to which the broker gives the same answers share one event stream. These are the tabs with
// the same token, with the same account, or with neither. The tab that holds the lock of the group reads the stream,
// with all topics that any tab wants, and passes the events on as messages. No message contains the token. A reader
// that falls silent is replaced. If the browser has no locks (plain HTTP beyond loopback), each tab has its own stream
// while it is visible.

import { group, stream } from './api.js';

/** Interval at which the reader reports that it is alive, and at which the other tabs check that. */
const BEAT_MS = 500;
/**
 * Silence after which a reader is replaced, and the maximum that a tab adds to it, so that tabs do not all try at once.
 */
const [SILENT_MS, APART_MS] = [2500, 500];
/** A tab that has slept for longer than this cannot have heard the reader. */
const SLEPT_MS = 2000;
/** Time during which wanted topics are gathered before a stream is opened. */
const GATHER_MS = 50;
/** Maximum number of channels in a stream. The tabs that asked last have precedence. */
const CHANNELS = 8;
/** Interval at which tabs are asked what they want. A tab that does not answer is considered closed. */
const ASK_EVERY_MS = 30_000;

/**
 * A tab's access to the events. `happened(name, data)` gets each event, and `connected(how, text)` the state of the
 * stream.
 */
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

  /** Sets the topics of the page that is now shown. */
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

  /** Leaves the group. If this tab reads the stream, the stream ends. */
  leave() {
    this.channel?.postMessage({ id: this.id, topics: [] });
    this.channel?.close();
    this.channel = undefined;
    this.going?.abort();
    this.rest();
  }

  /** Tells all tabs of the group to ask for another token. */
  signOut() {
    this.channel?.postMessage({ how: { how: 'token' } });
  }

  /** Waits for the lock and then holds it. With `steal`, does not wait for the tab that reads, but replaces it. */
  async queue(signal, steal = false) {
    this.waits?.abort();
    const waits = this.waits = new AbortController();
    signal.addEventListener('abort', () => waits.abort());
    await navigator.locks.request(this.name, steal ? { steal } : { signal: waits.signal }, () => this.lead(signal)).catch(() => undefined);
    if (waits.signal.aborted) return;
    // Another tab found this one silent and has replaced it.
    this.rest();
    this.wish(true);
    this.queue(signal);
  }

  /** Reads the stream for all tabs until this tab leaves. */
  lead(signal) {
    Object.assign(this, { leads: true, wants: new Map(), askedAt: 0 });
    this.tick();
    this.gather(true);
    return new Promise((done) => signal.addEventListener('abort', done));
  }

  /** Stops reading the stream. */
  rest() {
    this.leads = false;
    this.open?.abort();
    clearTimeout(this.gathers);
    [this.gathers, this.union] = [0, ''];
  }

  wish(isNew) {
    if (this.leads) this.gather(isNew); else this.channel?.postMessage({ id: this.id, topics: this.topics, isNew });
  }

  /** Opens a stream of all wanted topics, if these have changed or a tab has just joined. */
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

  /** Handles a message from another tab. */
  hear({ id, topics, isNew, how, asks, name, data }) {
    if (topics !== undefined) {
      if (!this.leads) return;
      this.silent?.delete(id);
      if (isNew || topics.length === 0) this.wants.delete(id); // the last tab that asked comes last in the map
      if (topics.length > 0) this.wants.set(id, topics);
      this.gather(isNew);
      return;
    }
    if (this.leads && how?.how !== 'token') return; // from a tab that does not know yet that it was replaced
    this.heardAt = performance.now();
    if (asks) this.wish(false);
    if (name !== undefined) this.happened(name, data);
    if (how?.how !== undefined) this.connected(how.how, how.text);
  }
}
