// Heliograph in node's tests: a broker for each test file, faults, a clock that moves, and messages to wait for.
//
// start() runs $HELIOGRAPH_BROKER, or @heliograph/broker, or `heliograph` on PATH, with everything in memory and on free
// ports of loopback, and sets the environment by which the AWS SDK finds it. What begins with the prefix of a test ends
// with reset(). The module is CommonJS, which jest loads without flags; index.mjs has its names for `import`. README.md
// shows it in use, ../README.md the pages behind it.

'use strict';

const { spawn } = require('node:child_process');
const { randomBytes, randomUUID } = require('node:crypto');
const { mkdtempSync, openSync, closeSync, readFileSync, rmSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');
const tls = require('node:tls');

const START_MS = 30_000; // a start takes some 50 ms
const LOG_MS = 1_000; // the log is milliseconds behind
const ASK_MS = 20_000; // the admin listener waits for messages for at most 25 s a request
const ANSWER_MS = 40_000;
const ROWS_MAX = 1_000; // messages or connections in one answer
const UNITS_MS = { ms: 1, s: 1_000, m: 60_000 };

// What would win over the keys of the broker, or be sent beside them.
const OTHER_KEYS = ['AWS_PROFILE', 'AWS_DEFAULT_PROFILE', 'AWS_SESSION_TOKEN', 'AWS_SECURITY_TOKEN'];

// The names of the environment that the last broker set.
let usedNames = [];

const credentials = (access, secret) => `
[[principal]]
name = "tests"
access_key_id = "${access}"
secret_access_key = "${secret}"
policies = ["everything"]

[policy.everything]
document = '{ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }] }'
`;

// Starts a broker, which ends with stop() or with this process: with further arguments of `heliograph serve`, and behind
// them { auth, profile }. With auth 'sigv4' it checks signatures, and knows one pair of keys, which its environment has;
// with profile 'strict' it enforces the limits of the cloud service.
async function start(...more) {
    const options = typeof more.at(-1) === 'object' ? more.pop() : {};
    const { auth = 'none', profile = 'default', ...unknown } = options;
    if (Object.keys(unknown).length > 0) {
        throw new Error(`start(): ${JSON.stringify(unknown)}: must be auth and profile, behind arguments`);
    }
    const named = ['auth', 'profile'].find((name) => more.includes(`--${name}`));
    if (named) throw new Error(`start(): --${named}: say { ${named}: '…' }, which also makes what belongs to it`);
    const binary = process.env.HELIOGRAPH_BROKER || installed() || 'heliograph';
    const directory = mkdtempSync(join(tmpdir(), 'heliograph-'));
    const [ready, log] = [join(directory, 'ready.json'), join(directory, 'log')];
    const listen = ['--listen', 'http://127.0.0.1:0', '--listen', 'https://127.0.0.1:0', '--admin', '127.0.0.1:0'];
    const dev = ['serve', '--dev', '--data-dir', ':memory:', '--shards', '1', '--ready-file', ready, '--auth', auth];
    const keys = {};
    if (auth === 'sigv4' && !more.includes('--credentials')) {
        keys.AWS_ACCESS_KEY_ID = `AKID${randomBytes(8).toString('hex').toUpperCase()}`;
        keys.AWS_SECRET_ACCESS_KEY = randomBytes(20).toString('hex');
        const file = join(directory, 'credentials.toml');
        writeFileSync(file, credentials(keys.AWS_ACCESS_KEY_ID, keys.AWS_SECRET_ACCESS_KEY), { mode: 0o600 });
        dev.push('--credentials', file);
    }
    const stderr = openSync(log, 'w');
    const command = [...dev, ...listen, '--profile', profile, ...more];
    // In a session of its own: Ctrl-C is for the tests, and the broker ends after them.
    const child = spawn(binary, command, { stdio: ['ignore', 'ignore', stderr], detached: true });
    closeSync(stderr);
    const ended = new Promise((resolve) => {
        child.once('error', resolve);
        child.once('exit', (code, signal) => resolve(`exit code ${code ?? signal}`));
    });
    child.unref(); // it keeps no process alive that has nothing else to do
    const end = endWithProcess(child, () => rmSync(directory, { recursive: true, force: true }));
    try {
        const { admin, environment, ca } = await readReady(ready, log, ended, binary);
        trust(readFileSync(ca, 'utf8'));
        const running = new Heliograph(admin, { ...environment, ...keys }, async () => {
            end();
            child.ref();
            await ended;
        });
        running.use();
        return running;
    } catch (error) {
        end();
        throw error;
    }
}

// The factor of all waits, for machines under load: HELIOGRAPH_WAIT.
function waitFactor() {
    const text = process.env.HELIOGRAPH_WAIT || '1';
    const factor = Number(text);
    if (factor >= 0.1 && factor <= 100) return factor;
    throw new Error(`HELIOGRAPH_WAIT = '${text}': must be a number from 0.1 to 100, the factor of all waits`);
}

function milliseconds(within) {
    const [, number, unit] = /^(\d{1,9})(ms|s|m)$/.exec(within) ?? [];
    if (number) return Number(number) * UNITS_MS[unit];
    throw new Error(`within = '${within}': must be a number with ms, s or m, such as '500ms' or '5s'`);
}

// The program of @heliograph/broker, if that is installed for these tests.
function installed() {
    try {
        return require.resolve(`@heliograph/broker-linux-${process.arch}/heliograph`);
    } catch {
        return null;
    }
}

// The ready file, which is there, whole, once every listener accepts.
async function readReady(ready, log, ended, binary) {
    const until = Date.now() + START_MS * waitFactor();
    for (;;) {
        const end = await Promise.race([ended, sleep(5, null)]);
        if (end?.code === 'ENOENT') {
            throw new Error(
                `no program '${binary}': set HELIOGRAPH_BROKER to the path of the broker (target/release/heliograph ` +
                    'after `cargo build --release -p broker`), install @heliograph/broker, or put `heliograph` on PATH',
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

// Ends the broker with this process, unless that is killed; returns what ends it before. `clean` follows.
function endWithProcess(child, clean) {
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
    const kill = () => {
        child.kill();
        clean();
    };
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
class Heliograph {
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

    // Has clients that this process makes from here on find this broker: start() does that, too.
    use() {
        for (const name of [...OTHER_KEYS, ...usedNames]) delete process.env[name];
        usedNames = Object.keys(this.environment);
        Object.assign(process.env, this.environment);
    }

    // Whether signatures are checked: 'sigv4', or 'none'.
    get auth() {
        return this.environment.AWS_ENDPOINT_URL_STS ? 'sigv4' : 'none';
    }

    // The URL of the API.
    get endpoint() {
        return this.environment.AWS_ENDPOINT_URL_KINESIS_VIDEO;
    }

    // The name of a channel of this test.
    channel(name) {
        return this.prefix + name;
    }

    // Messages on a channel of this test, by { action, sender, to }. All but the action may be a pattern; the master is
    // `MASTER`.
    messages(channel = '*', { sender, ...wanted } = {}) {
        return new Query(this, 'messages', { ...wanted, from: sender, channel: this.channel(channel) });
    }

    // Connections to a channel of this test, by { role, clientId }.
    connections(channel = '*', wanted = {}) {
        return new Query(this, 'connections', { ...wanted, channel: this.channel(channel) });
    }

    // Why a request was refused, by its id: `error.$metadata.requestId` in the AWS SDK.
    async why(requestId) {
        for (const until = Date.now() + LOG_MS * waitFactor(); ; await sleep(5)) {
            const found = await this.request('GET', `/refusals/${encodeURIComponent(requestId)}`);
            // What the id alone says is known at once; the rest comes by way of the log.
            if (found.source === 'kept' || Date.now() > until) return found;
        }
    }

    // What the broker saw on each channel of this test, by name: as 'text', as a picture ('svg') or as 'har'.
    async sessions(format = 'text') {
        const { channels } = await this.request('GET', `/channels?${new URLSearchParams({ prefix: this.prefix })}`);
        const of = async ({ name }) => [name, await this.request('GET', `/channels/${name}/trace?format=${format}`)];
        return Object.fromEntries(await Promise.all(channels.map(of)));
    }

    // Ends everything of this test: connections, channels, faults, messages, skew. Another prefix begins.
    async reset() {
        const done = await this.request('POST', '/dev/reset', { channelPrefix: this.prefix });
        await this.faults.endUnprefixed();
        await this.clock.endSkew();
        this.prefix = newPrefix();
        return done;
    }

    // A request to the admin listener; its answer: a text, or decoded JSON.
    async request(method, path, body) {
        const { headers } = this;
        const options = { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(ANSWER_MS) };
        const answer = await fetch(this.admin + path, options).catch((error) => {
            throw new Error(`${method} ${this.admin}${path}: no answer of the broker`, { cause: error });
        });
        const isJson = answer.headers.get('content-type') === 'application/json';
        const read = await (isJson ? answer.json() : answer.text());
        if (!answer.ok) throw new Error(`${method} ${path}: ${read.error}`);
        return read;
    }
}

// Messages or connections to wait for.
class Query {
    constructor(heliograph, page, wanted) {
        const named = Object.entries(wanted).filter(([, value]) => value !== undefined);
        Object.assign(this, { heliograph, page, wanted: Object.fromEntries(named) });
    }

    // Those that there are, without a wait.
    now() {
        return this.ask(0, '0s');
    }

    // Resolves as soon as there are `count`; rejects after `within`, times HELIOGRAPH_WAIT.
    async wait(count = 1, within = '5s') {
        const factor = waitFactor();
        const until = performance.now() + milliseconds(within) * factor;
        for (;;) {
            const left = until - performance.now();
            const found = await this.ask(count, `${Math.max(0, Math.floor(Math.min(left, ASK_MS)))}ms`);
            if (found.length >= count) return found;
            if (left > ASK_MS) continue;
            const rows = found.map((row) => `\n  ${JSON.stringify(row)}`).join('') || ' none';
            const wanted = JSON.stringify(this.wanted);
            const times = factor === 1 ? '' : ` times ${factor} (HELIOGRAPH_WAIT)`;
            const seen = Object.values(await this.heliograph.sessions()).map((text) => `\n\n${text}`).join('');
            throw new Error(`${found.length} of ${count} ${this.page} within ${within}${times} with ${wanted}:${rows}${seen}`);
        }
    }

    async ask(min, wait) {
        const query = new URLSearchParams({ ...this.wanted, min, wait, limit: ROWS_MAX });
        return (await this.heliograph.request('GET', `/dev/${this.page}?${query}`))[this.page];
    }
}

// The first argument of a fault, which may be left out, and the options behind it.
const first = (value, more) => (typeof value === 'object' ? [undefined, value] : [value, more]);

// Makes faults. What else each may name: `channel` (of this test, a pattern; null for calls that name none), `role`,
// `clientId`, `operation`, `action`; `on`, `skip`, `times`, `lasts`, `probability` with `seed`. Those that end or change a
// session act with a message, too: `on: 'message'` on its sender's, `on: 'delivery'` on its recipient's.
class Faults {
    constructor(heliograph) {
        this.heliograph = heliograph;
        this.unprefixed = [];
    }

    refuse(name, options) {
        const [error, { status, message, ...more } = {}] = first(name, options);
        return this.make('api', { refuse: { error, status, message } }, more);
    }

    // ClientLimitExceededException, which SDKs do not try again; refuse('ThrottlingException') they do.
    throttle({ message, ...more } = {}) {
        return this.make('api', { throttle: { message } }, more);
    }

    delay(span, { on, ...more }) {
        return this.make(on, { delay: span }, more);
    }

    hang(more) {
        return this.make('api', 'hang', more);
    }

    // A TCP reset, for which clients report 1006 where a WebSocket was open: on 'session'.
    reset(more) {
        return this.make('api', 'reset', more);
    }

    drop(more) {
        return this.make('message', 'drop', more);
    }

    expire(more) {
        return this.make('message', 'expire', more);
    }

    status(name, options) {
        const [errorType, { code, description, ...more } = {}] = first(name, options);
        return this.make('message', { status: { errorType, statusCode: code, description } }, more);
    }

    // A master's message goes to this viewer instead; a viewer's message comes from this one.
    misdirect(viewer, more) {
        return this.make('message', { misdirect: viewer }, more);
    }

    // Spoils the 'payload' (no JSON), its 'base64', or the 'message' (no JSON).
    corrupt(of, options) {
        const [part = 'payload', more] = first(of, options);
        return this.make('delivery', { corrupt: part }, more);
    }

    duplicate(more) {
        return this.make('delivery', 'duplicate', more);
    }

    reorder(more) {
        return this.make('delivery', 'reorder', more);
    }

    goAway(span, options) {
        const [grace, more] = first(span, options);
        return this.make('session', { goAway: { grace } }, more);
    }

    close(number, options) {
        const [code, { reason, after, ...more } = {}] = first(number, options);
        return this.make('session', { close: { code, reason, after } }, more);
    }

    stall(time, options) {
        const [span, more] = first(time, options);
        return this.make('session', { stall: { for: span } }, more);
    }

    halfOpen(time, options) {
        const [span, more] = first(time, options);
        return this.make('session', { halfOpen: { for: span } }, more);
    }

    reconnectIce(more) {
        return this.make('session', 'reconnectIce', more);
    }

    // Sends a text message that is 'empty', as the cloud service is seen to do.
    send(of, options) {
        const [what = 'empty', more] = first(of, options);
        return this.make('session', { send: what }, more);
    }

    // A fault as `POST /dev/faults` takes it, its `match` among the options.
    async make(place, act, { on = place, channel = '*', role, clientId, operation, action, lasts, ...more } = {}) {
        const pattern = channel === null ? undefined : this.heliograph.channel(channel);
        const match = { channel: pattern, role, clientId, operation, action };
        const fault = { on, match, do: act, for: lasts, ...more };
        const { id } = await this.heliograph.request('POST', '/dev/faults', fault);
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
        const shown = faults.find(({ id }) => id === this.id);
        if (shown) return shown;
        throw new Error(`the fault ${this.id} was ended: read hits() before end(), or before reset()`);
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

    // Moves the calendar alone, either way, until reset(): signatures are compared with it.
    async skew(span) {
        if (this.heliograph.auth === 'none') {
            throw new Error(
                `clock.skew('${span}'): this broker checks no signatures, so no client would notice; ` +
                    "start({ auth: 'sigv4' }) has one that does",
            );
        }
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

module.exports = { start, Heliograph };
