// A broker of a script's own: HELIOGRAPH_BROKER is its program.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

// Starts it with its data in `directory`, on a port that it may have had before.
export async function start(directory, port, { admin: at = '127.0.0.1:0', more = [] } = {}) {
    const flags = ['serve', '--dev', '--shards', '1', '--listen', `http://127.0.0.1:${port}`, '--admin', at, '--data-dir', join(directory, 'data'), ...more];
    const child = spawn(process.env.HELIOGRAPH_BROKER, flags, { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    const ready = await Promise.race([new Promise((resolve) => createInterface(child.stdout).once('line', resolve)), ended]);
    const [, listener, admin] = /^ready http:\/\/\S+:(\d+) admin=(\S+)/.exec(ready) ?? assert.fail(`no ready line: ${ready}`);
    return {
        port: listener,
        admin,
        async stop() {
            child.kill('SIGTERM');
            await ended;
        },
    };
}
