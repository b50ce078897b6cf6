// Heliograph in node's tests: a broker for each test file, faults, a clock that moves, and messages to wait for.
//
// start() runs $HELIOGRAPH_BROKER, or `heliograph` on PATH, with everything in memory and on free ports of loopback, and
// sets the environment by which the AWS SDK finds it. What begins with the prefix of a test ends with reset().
// README.md shows it in use, ../README.md the pages behind it.

import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, openSync, closeSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';

const START_MS = 30_000; // a start takes some 50 ms
const LOG_MS = 1_000; // the log is milliseconds behind
const ANSWER_MS = 40_000; // the admin listener answers within 25 s, even where it waits

// Starts a broker, with further arguments of `heliograph serve`, which ends with stop() or with this process.
export async function start(...more) {
    const binary = process.env.HELIOGRAPH_BROKER || 'heliograph';
    const directory = mkdtempSync(join(tmpdir(), 'heliograph-'));
    const [ready, log] = [join(directory, 'ready.json'), join(directory, 'log')];
    const stderr = openSync(log, 'w');
    const listen = ['--listen', 'http://127.0.0.1:0', '--listen', 'https://127.0.0.1:0', '--admin', '127.0.0.1:0'];
    const dev = ['serve', '--dev', '--data-dir', ':memory:', '--shards', '1', '--ready-file', ready];
    // In a session of its own: Ctrl-C is for the tests, and the broker ends after them.
    const child = spawn(binary, [...dev, ...listen, ...more], { stdio: ['ignore', 'ignore', stderr], detached: true });
    closeSync(stderr);
    const ended = new Promise((resolve) => {
        child.once('error', resolve);
        child.once('exit', (code, signal) => resolve(`exit code ${code ?? signal}`));
    });
    child.unref(); // it keeps no process alive that has nothing else to do
    const end = endWithProcess(child);
    try {
        const { admin, environment, ca } = await readReady(ready, log, ended, binary);
        Object.assign(process.env, environment);
        trust(readFileSync(ca, 'utf8'));
        return new Heliograph(admin, environment, async () => {
            end();
            child.ref();
            await ended;
        });
    } catch (error) {
        end();
        throw error;
    } finally {
        rmSync(directory, { recursive: true });
    }
}

// The ready file, which is there, whole, once every listener accepts.
async function readReady(ready, log, ended, binary) {
    const until = Date.now() + START_MS;
    for (;;) {
        const end = await Promise.race([ended, sleep(5, null)]);
        if (end?.code === 'ENOENT') {
            throw new Error(
                `no program '${binary}': set HELIOGRAPH_BROKER to the path of the broker (target/release/heliograph ` +
                    'after `cargo build --release -p broker`), or put `heliograph` on PATH',
            );
        }
        if (end !== null || Date.now() > until) {
            const why = end ?? 'no ready file in time';
            throw new Error(`the broker did not start: ${why}: ${binary}\n${readFileSync(log)}`);
        }
        try {
            return JSON.parse(readFileSync(ready, 'utf8'));
        } catch (error) {
            if (error.code !== 'ENOENT') throw error;
        }
    }
}

// Ends the broker with this process, unless that is killed; returns what ends it before.
function endWithProcess(child) {
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
    const kill = () => child.kill();
    const passOn = (signal) => {
        end();
        if (process.listenerCount(signal) === 0) process.kill(process.pid, signal); // as without this handler
    };
    const end = () => {
        process.off('exit', kill);
        signals.forEach((signal) => process.off(signal, passOn));
        kill();
    };
    process.once('exit', kill);
    signals.forEach((signal) => process.once(signal, passOn));
    return end;
}

// node reads NODE_EXTRA_CA_CERTS at its own start only: what trusts the usual authorities trusts this one from here on.
function trust(authority) {
    if (tls.setDefaultCACertificates) {
        tls.setDefaultCACertificates([...tls.getCACertificates('default'), authority]);
        return;
    }
    const { createSecureContext } = tls;
    tls.createSecureContext = (options) => {
        const context = createSecureContext(options);
        if (!options?.ca) context.context.addCACert(authority);
        return context;
    };
}

// A running `heliograph serve --dev`, by its admin listener, and the prefix of one test.
export class Heliograph {
    constructor(admin, environment, stop = async () => {}) {
        this.admin = admin;
        this.environment = environment;
        // Of a broker whose configuration has a token.
        const file = environment.HELIOGRAPH_ADMIN_TOKEN_FILE;
        this.headers = { 'content-type': 'application/json' };
        if (file) this.headers.authorization = `Bearer ${readFileSync(file, 'utf8').trim()}`;
        this.prefix = newPrefix();
        this.faults = new Faults(this);
        this.clock = new Clock(this);
        this.parity = new Parity(this);
        this.stop = stop;
    }

    // The URL of the API.
    get endpoint() {
        return this.environment.AWS_ENDPOINT_URL_KINESIS_VIDEO;
    }

    // The name of a channel of this test.
    channel(name) {
        return this.prefix + name;
    }

    // Messages on a channel of this test, by { action, from, to }. All but the action may be a pattern; the master is
    // `MASTER`.
    messages(channel = '*', wanted = {}) {
        return new Query(this, 'messages', { ...wanted, channel: this.channel(channel) });
    }

    // Connections to a channel of this test, by { role, clientId }.
    connections(channel = '*', wanted = {}) {
        return new Query(this, 'connections', { ...wanted, channel: this.channel(channel) });
    }

    // Why a request was refused, by its id: `error.$metadata.requestId` in the AWS SDK.
    async why(requestId) {
        for (const until = Date.now() + LOG_MS; ; await sleep(5)) {
            const found = await this.request('GET', `/refusals/${encodeURIComponent(requestId)}`);
            // What the id alone says is known at once; the rest comes by way of the log.
            if (found.source === 'kept' || Date.now() > until) return found;
        }
    }

    // Ends everything of this test: connections, channels, faults, messages, skew. Another prefix begins.
    async reset() {
        const done = await this.request('POST', '/dev/reset', { channelPrefix: this.prefix });
        await this.faults.endUnprefixed();
        await this.clock.endSkew();
        this.prefix = newPrefix();
        return done;
    }

    // A request to the admin listener; its answer, decoded.
    async request(method, path, body) {
        const { headers } = this;
        const options = { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(ANSWER_MS) };
        const answer = await fetch(this.admin + path, options).catch((error) => {
            throw new Error(`${method} ${this.admin}${path}: no answer of the broker`, { cause: error });
        });
        const read = await answer.json();
        if (!answer.ok) throw new Error(`${method} ${path}: ${read.error}`);
        return read;
    }
}

// Messages or connections to wait for.
class Query {
    constructor(heliograph, page, wanted) {
        Object.assign(this, { heliograph, page, wanted });
    }

    // Those that there are, without a wait.
    now() {
        return this.ask(0, '0s');
    }

    // Resolves as soon as there are `count`; rejects after `within`, which is at most 25s.
    async wait(count = 1, within = '5s') {
        const found = await this.ask(count, within);
        if (found.length < count) {
            const rows = found.map((row) => `\n  ${JSON.stringify(row)}`).join('') || ' none';
            const wanted = JSON.stringify(this.wanted);
            throw new Error(`${found.length} of ${count} ${this.page} within ${within} with ${wanted}:${rows}`);
        }
        return found;
    }

    async ask(min, wait) {
        const query = new URLSearchParams({ ...this.wanted, min, wait });
        return (await this.heliograph.request('GET', `/dev/${this.page}?${query}`))[this.page];
    }
}

// Makes faults. What else each may name: `channel` (of this test, a pattern; null for calls that name none), `role`,
// `clientId`, `operation`, `action`; `on`, `skip`, `times`, `for`, `probability` with `seed`.
class Faults {
    constructor(heliograph) {
        this.heliograph = heliograph;
        this.unprefixed = [];
    }

    refuse(error, { status, message, ...more } = {}) {
        return this.make({ on: 'api', do: { refuse: { error, status, message } }, ...more });
    }

    throttle({ message, ...more } = {}) {
        return this.make({ on: 'api', do: { throttle: { message } }, ...more });
    }

    delay(span, more) {
        return this.make({ do: { delay: span }, ...more });
    }

    hang(more) {
        return this.make({ on: 'api', do: 'hang', ...more });
    }

    reset(more) {
        return this.make({ on: 'api', do: 'reset', ...more });
    }

    drop(more) {
        return this.make({ on: 'message', do: 'drop', ...more });
    }

    expire(more) {
        return this.make({ on: 'message', do: 'expire', ...more });
    }

    status(errorType, { statusCode, description, ...more } = {}) {
        return this.make({ on: 'message', do: { status: { errorType, statusCode, description } }, ...more });
    }

    duplicate(more) {
        return this.make({ on: 'delivery', do: 'duplicate', ...more });
    }

    reorder(more) {
        return this.make({ on: 'delivery', do: 'reorder', ...more });
    }

    goAway({ grace, ...more } = {}) {
        return this.make({ on: 'session', do: { goAway: { grace } }, ...more });
    }

    close({ code, reason, after, ...more } = {}) {
        return this.make({ on: 'session', do: { close: { code, reason, after } }, ...more });
    }

    stall({ span, ...more } = {}) {
        return this.make({ on: 'session', do: { stall: { for: span } }, ...more });
    }

    reconnectIce(more) {
        return this.make({ on: 'session', do: 'reconnectIce', ...more });
    }

    // A fault as `POST /dev/faults` takes it, its `match` among the other keys.
    async make({ channel = '*', role, clientId, operation, action, ...fault }) {
        const pattern = channel === null ? undefined : this.heliograph.channel(channel);
        const match = { channel: pattern, role, clientId, operation, action };
        const { id } = await this.heliograph.request('POST', '/dev/faults', { ...fault, match });
        const made = new Fault(this.heliograph, id);
        if (channel === null) this.unprefixed.push(made);
        return made;
    }

    async endUnprefixed() {
        for (const fault of this.unprefixed.splice(0)) {
            await fault.end().catch(() => {}); // the test has ended it
        }
    }
}

// A fault that was made.
class Fault {
    constructor(heliograph, id) {
        Object.assign(this, { heliograph, id });
    }

    // How often it has acted.
    async hits() {
        return (await this.shown()).hits;
    }

    // What `GET /dev/faults` shows of it.
    async shown() {
        const { faults } = await this.heliograph.request('GET', '/dev/faults');
        return faults.find(({ id }) => id === this.id);
    }

    // Ends it. What it holds back goes on when it is due.
    async end() {
        await this.heliograph.request('DELETE', `/dev/faults/${this.id}`);
    }
}

// The broker's clocks.
class Clock {
    constructor(heliograph) {
        this.heliograph = heliograph;
        this.skewed = false;
    }

    now() {
        return this.heliograph.request('GET', '/dev/clock');
    }

    // Moves all clocks forward; resolves when everything is done that is due by then.
    advance(span) {
        return this.heliograph.request('POST', '/dev/clock', { advance: span });
    }

    // Moves the calendar alone, either way, until reset().
    skew(span) {
        this.skewed = true;
        return this.heliograph.request('POST', '/dev/clock', { wallSkew: span });
    }

    async endSkew() {
        if (this.skewed) await this.heliograph.request('DELETE', '/dev/clock');
        this.skewed = false;
    }
}

// What the cloud service would have refused, and this broker did not.
class Parity {
    constructor(heliograph) {
        this.heliograph = heliograph;
    }

    async findings() {
        const query = new URLSearchParams({ channel: this.heliograph.channel('*') });
        return (await this.heliograph.request('GET', `/dev/parity?${query}`)).findings;
    }

    // That this test did nothing that the cloud service refuses.
    async assertNone() {
        const line = ({ rule, channel, count, says }) => `\n  ${rule}, ${channel}, ${count} times: ${says}`;
        const lines = (await this.findings()).map(line);
        if (lines.length > 0) throw new Error(`the cloud service would have refused:${lines.join('')}`);
    }
}

function newPrefix() {
    return `t${randomUUID().slice(0, 8)}-`;
}
