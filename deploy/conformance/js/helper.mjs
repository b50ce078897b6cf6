// The module for tests of deploy/testing/js: its README as printed, its errors, the end of its broker.

import test from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync } from 'node:fs';
import { rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const timeout = 120_000;
const helper = fileURLToPath(new URL('../../testing/js', import.meta.url));

// A folder whose modules are the pinned clients and, as `npm install` of its folder leaves it, the helper.
function project(t) {
    const folder = mkdtempSync(join(tmpdir(), 'heliograph-js-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const installed = join(process.env.HELIOGRAPH_CLIENTS, 'js/node_modules');
    const modules = join(folder, 'node_modules');
    mkdirSync(join(modules, '@heliograph'), { recursive: true });
    symlinkSync(helper, join(modules, '@heliograph/testing'));
    for (const name of readdirSync(installed).filter((name) => !name.startsWith('.'))) {
        symlinkSync(join(installed, name), join(modules, name));
    }
    return {
        folder,
        write: (name, text) => writeFileSync(join(folder, name), text),
        // The exit code and the output of node; only what the helper sets may tell it where its broker is.
        node: async (args, more = {}) => {
            const kept = Object.entries(process.env).filter(([name]) => !/^(AWS_|NODE_(?!OPTIONS$))/.test(name));
            const options = { cwd: folder, env: { ...Object.fromEntries(kept), ...more } };
            const child = spawn(process.execPath, args, options);
            let output = '';
            child.stdout.on('data', (text) => (output += text));
            child.stderr.on('data', (text) => (output += text));
            const ended = new Promise((resolve) => child.once('close', (code, signal) => resolve(code ?? signal)));
            return { child, output: () => output, code: more.WAITS ? ended : await ended };
        },
    };
}

const answers = (url) =>
    new Promise((resolve) => {
        const { hostname, port } = new URL(url);
        const socket = connect(port, hostname, () => resolve(socket.end() && true));
        socket.once('error', () => resolve(false));
    });

async function until(met) {
    while (!(await met())) await new Promise((resolve) => setTimeout(resolve, 10));
}

test('the README works as printed', { timeout }, async (t) => {
    const { write, node } = project(t);
    const text = readFileSync(join(helper, 'README.md'), 'utf8');
    const files = [...text.matchAll(/^`([\w.]+)`[^`]*\n\n```js\n([^]*?)^```$/gm)];
    assert.deepEqual(files.map(([, name]) => name), ['camera.mjs', 'camera.test.mjs']);
    files.forEach(([, name, content]) => write(name, content));
    const { code, output } = await node(['--test']);
    assert.equal(code, 0, output());
    assert.match(output(), /the camera connects again[^]*pass 1\b/);
});

test('the app that comes from AWS', { timeout }, async (t) => {
    const { folder, node } = project(t);
    cpSync(join(helper, '../from-aws/js'), folder, { recursive: true });
    const { code, output } = await node(['--test']);
    assert.equal(code, 0, output());
    assert.match(output(), /pass 10\b/);
});

test('what is missing is named', { timeout }, async (t) => {
    const { folder, write, node } = project(t);
    write('start.mjs', "import { start } from '@heliograph/testing'; await start();");
    const missing = await node(['start.mjs'], { HELIOGRAPH_BROKER: '/nowhere/broker' });
    assert.equal(missing.code, 1);
    assert.match(missing.output(), /no program '\/nowhere\/broker': set HELIOGRAPH_BROKER to the path/);
    const broker = join(folder, 'broker');
    writeFileSync(broker, "#!/bin/sh\necho 'the disk is full' >&2\nexit 7\n", { mode: 0o755 });
    const ended = await node(['start.mjs'], { HELIOGRAPH_BROKER: broker });
    assert.equal(ended.code, 1);
    assert.match(ended.output(), /did not start: exit code 7[^]*the disk is full/);
    write('wrong.mjs', "import { start } from '@heliograph/testing'; await (await start()).faults.refuse('Nope');");
    const wrong = await node(['wrong.mjs']);
    assert.match(wrong.output(), /POST \/dev\/faults: do\.refuse\.error = "Nope": expected AccessDenied/);
});

test('a test leaves nothing behind', { timeout }, async (t) => {
    const { write, node } = project(t);
    write('tidy.mjs', TIDY);
    const { code, output } = await node(['tidy.mjs']);
    assert.equal(code, 0, output());
});

test('arguments say which broker it is, and CommonJS has it too', { timeout }, async (t) => {
    const { write, node } = project(t);
    write('which.cjs', WHICH);
    const others = { AWS_SESSION_TOKEN: 'of another account', AWS_PROFILE: 'nowhere' };
    const { code, output } = await node(['which.cjs'], others);
    assert.equal(code, 0, output());
});

test('a configured token is sent', { timeout }, async (t) => {
    const { write, node } = project(t);
    write('admin.token', 'a-token-of-32-characters-or-more\n');
    write('broker.toml', '[admin]\ntoken_file = "admin.token"\n');
    write(
        'token.mjs',
        "import assert from 'node:assert/strict';\n" +
            "import { start } from '@heliograph/testing';\n" +
            "const heliograph = await start('--config', 'broker.toml');\n" +
            "assert.equal((await heliograph.clock.now()).wallSkew, '0s');\n" +
            "assert.equal((await fetch(`${heliograph.admin}/dev/clock`)).status, 401);\n" +
            "assert.match(process.env.HELIOGRAPH_ADMIN_TOKEN_FILE, /admin.token$/);\n" +
            'await heliograph.stop();\n',
    );
    const { code, output } = await node(['token.mjs']);
    assert.equal(code, 0, output());
});

test('the broker ends with its process', { timeout }, async (t) => {
    const { folder, write, node } = project(t);
    const ready = join(folder, 'ready.json');
    const begins =
        "import { existsSync, renameSync, writeFileSync } from 'node:fs';\n" +
        "import { start } from '@heliograph/testing';\n" +
        "const heliograph = await start();\n" +
        "writeFileSync('half', JSON.stringify([heliograph.admin, heliograph.environment.AWS_CA_BUNDLE]));\n" +
        "renameSync('half', 'ready.json');\n";
    for (const [end, signal, code] of [
        ["await heliograph.stop(); if (existsSync(heliograph.environment.AWS_CA_BUNDLE)) throw 'it runs';", null, 0],
        ['await heliograph.stop(); await heliograph.stop();', null, 0],
        ['', null, 0],
        ["throw new Error('a test that fails');", null, 1],
        ['setInterval(() => {}, 1000);', 'SIGINT', 'SIGINT'],
        ['setInterval(() => {}, 1000);', 'SIGTERM', 'SIGTERM'],
    ]) {
        write('ends.mjs', begins + end);
        const running = await node(['ends.mjs'], { WAITS: '1' });
        await until(() => existsSync(ready) || running.child.exitCode !== null);
        const [admin, authority] = JSON.parse(readFileSync(ready));
        rmSync(ready);
        if (signal) {
            assert.ok((await answers(admin)) && existsSync(authority));
            running.child.kill(signal);
        }
        assert.equal(await running.code, code, running.output());
        await until(async () => !(await answers(admin)) && !existsSync(authority));
    }
});

const TIDY = `
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { once } from 'node:events';
import { KinesisVideo } from '@aws-sdk/client-kinesis-video';
import { start } from '@heliograph/testing';

const WebSocket = createRequire(import.meta.url)('ws');
const heliograph = await start();
for (let round = 0; round < 3; round += 1) {
    const kinesis = new KinesisVideo({});
    assert.equal((await heliograph.clock.now()).wallSkew, '0s');
    assert.deepEqual((await heliograph.request('GET', '/dev/faults')).faults, []);
    assert.deepEqual((await kinesis.listSignalingChannels({})).ChannelInfoList, []);
    assert.deepEqual(await heliograph.connections().now(), []);
    assert.deepEqual(await heliograph.messages().now(), []);
    await heliograph.parity.assertNone();
    const { ChannelARN } = await kinesis.createSignalingChannel({ ChannelName: heliograph.channel('cam') });
    const url = heliograph.endpoint.replace('https', 'wss');
    const viewer = new WebSocket(\`\${url}/?X-Amz-ChannelARN=\${ChannelARN}&X-Amz-ClientId=v1\`);
    await once(viewer, 'open');
    viewer.send(JSON.stringify({ action: 'SDP_OFFER', messagePayload: 'A'.repeat(12_000) }));
    const [message] = await heliograph.messages('cam', { action: 'SDP_OFFER', sender: 'v?', to: 'MASTER' }).wait(1);
    assert.equal(message.outcome, 'kept');
    const wanted = heliograph.messages('cam');
    await assert.rejects(wanted.wait(2, '10ms'), /^Error: 1 of 2 messages within 10ms [^]*cam[^]*SDP_OFFER[^]*channel t[^]*No camera is connected[^]*viewer v1 /);
    assert.match(Object.values(await heliograph.sessions('svg'))[0], /^<svg /);
    await assert.rejects(heliograph.parity.assertNone(), /payload_over_10240/);
    await heliograph.faults.hang({ times: 'always' });
    await heliograph.faults.refuse(undefined, { status: 503, channel: null, times: 'always' });
    await heliograph.faults.stall({ role: 'viewer' });
    const closed = once(viewer, 'close');
    await heliograph.reset();
    assert.equal((await closed)[0], 1001);
}
await heliograph.stop();
`;

// As jest loads it, whose modules are CommonJS.
const WHICH = `
const assert = require('node:assert/strict');
const { KinesisVideo } = require('@aws-sdk/client-kinesis-video');
const { start } = require('@heliograph/testing');

const list = () => new KinesisVideo({ maxAttempts: 1 }).listSignalingChannels({});

async function main() {
    const signed = await start('--region', 'eu-west-1', { auth: 'sigv4', profile: 'strict' });
    assert.deepEqual([signed.auth, signed.environment.AWS_REGION], ['sigv4', 'eu-west-1']);
    assert.deepEqual((await list()).ChannelInfoList, []);
    await signed.clock.skew('-10m');
    await assert.rejects(list(), { name: 'InvalidSignatureException' });
    await signed.reset();
    const { ChannelARN } = await new KinesisVideo({}).createSignalingChannel({ ChannelName: signed.channel('a') });
    const describe = () => new KinesisVideo({ maxAttempts: 1 }).describeSignalingChannel({ ChannelARN });
    await assert.rejects(async () => { for (;;) await describe(); }, { name: 'ClientLimitExceededException' });
    await signed.stop();

    const open = await start();
    assert.equal(open.auth, 'none');
    assert.deepEqual((await list()).ChannelInfoList, []);
    await assert.rejects(open.clock.skew('-10m'), /checks no signatures, .* auth: 'sigv4'/);
    process.env.HELIOGRAPH_WAIT = '3';
    await assert.rejects(open.messages('cam').wait(1, '10ms'), /0 of 1 messages within 10ms times 3 \\(HELIOGRAPH_WAIT/);
    process.env.HELIOGRAPH_WAIT = 'many';
    await assert.rejects(open.messages('cam').wait(1), /must be a number from 0.1 to 100/);
    process.env.HELIOGRAPH_WAIT = '';
    await assert.rejects(open.messages('cam').wait(1, '5 s'), /must be a number with ms, s or m/);
    await assert.rejects(start({ profil: 'strict' }), /"profil":"strict".*must be auth and profile/);
    await assert.rejects(start('--auth', 'sigv4'), /--auth: say \\{ auth: /);
    const fault = await open.faults.hang();
    await fault.end();
    await assert.rejects(fault.hits(), /was ended: read hits\\(\\) before/);
    await open.stop();
}
main().catch((error) => { console.error(error); process.exit(1); });
`;
