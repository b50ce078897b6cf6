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
    try {
        return require.resolve('@heliograph/broker-linux-x64/heliograph');
    } catch {
        const { platform, arch } = process;
        const here = platform === 'linux' && arch === 'x64' ? 'install it without --omit=optional' : elsewhere();
        console.error(`heliograph: @heliograph/broker-linux-x64 is not installed on ${platform} ${arch}: ${here}`);
        process.exit(2);
    }
}

function elsewhere() {
    return (
        'it needs Linux on x86_64 with glibc. In a Linux of 6.1 or newer (a virtual machine, WSL2), or as a container: ' +
        `docker run --rm --network host --security-opt seccomp=seccomp.json heliograph:${version} serve --dev`
    );
}
