#!/usr/bin/env node
// Runs the program of the package for this platform, and ends as it ends. Signals to this process are passed on.

'use strict';

const { spawn } = require('node:child_process');
const { constants } = require('node:os');
const { version } = require('./package.json');

const SIGNALS = ['SIGHUP', 'SIGINT', 'SIGTERM'];

const child = spawn(program(), process.argv.slice(2), { stdio: 'inherit' });
// A terminal gives Ctrl-C to both, and the program takes a second one as "at once": it is passed on if it was for this
// process alone, whose input then is no terminal.
for (const signal of SIGNALS) {
    process.on(signal, () => {
        if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
}
child.once('error', (error) => {
    console.error(`heliograph cannot be started: ${error.message}`);
    process.exit(1);
});
child.once('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));

function program() {
    const { platform, arch } = process;
    const name = `@heliograph/broker-${platform}-${arch}`;
    try {
        return require.resolve(`${name}/heliograph`);
    } catch {
        const there = platform === 'linux' && ['arm64', 'x64'].includes(arch);
        const here = there ? 'install it without --omit=optional' : elsewhere();
        console.error(`heliograph: ${name} is not installed: ${here}`);
        process.exit(2);
    }
}

function elsewhere() {
    return (
        'there is none; it needs Linux on x86_64 or aarch64 with glibc. Run it in WSL2, or as a container: docker run --rm ' +
        '-p 127.0.0.1:8080:8080 -p 127.0.0.1:8443:8443 -p 127.0.0.1:8090:8090 ' +
        `heliograph:${version} serve --dev --container; see "On a Mac or on Windows" in deploy/INSTALL.md`
    );
}
