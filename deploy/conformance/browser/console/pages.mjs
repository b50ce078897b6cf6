// Chromium with the operator's pages, and clients that give them something to show.
//
// HELIOGRAPH_ADMIN        base URL of the admin listener
// HELIOGRAPH_HTTP         base URL of the plain listener of clients
// HELIOGRAPH_SCREENSHOTS  a directory for pictures, if wanted

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';

const require = createRequire(`${process.env.HELIOGRAPH_CLIENTS}/browser/package.json`);
const { chromium } = require('playwright-core');
const { WebSocket } = createRequire(`${process.env.HELIOGRAPH_CLIENTS}/js/package.json`)('ws');

export const admin = process.env.HELIOGRAPH_ADMIN;
export const data = process.env.HELIOGRAPH_HTTP;
export const pictures = process.env.HELIOGRAPH_SCREENSHOTS;
const milliseconds = 30_000;
if (pictures !== undefined) await mkdir(pictures, { recursive: true });

/** Opens a page, and notes what it must not do. */
export async function open(browser, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: admin });
    const page = await context.newPage();
    page.setDefaultTimeout(milliseconds);
    const faults = [];
    page.on('console', (message) => {
        // Chromium reports each answer of 4xx; which of them are right is for the test to say.
        if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) faults.push(message.text());
    });
    page.on('pageerror', (error) => faults.push(error.stack));
    page.on('request', (request) => {
        if (!request.url().startsWith(`${admin}/`)) faults.push(`a request to ${request.url()}`);
    });
    await page.addInitScript(() => {
        window.violations = [];
        document.addEventListener('securitypolicyviolation', (event) => {
            window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
        });
    });
    page.innocent = async () => {
        assert.deepEqual(await page.evaluate(() => window.violations), []);
        assert.deepEqual(faults, []);
    };
    return page;
}

export async function withBrowser(work) {
    const home = await mkdtemp(join(tmpdir(), 'heliograph-'));
    try {
        const browser = await chromium.launch({
            executablePath: process.env.HELIOGRAPH_CHROMIUM ?? '/usr/bin/chromium',
            timeout: milliseconds,
            env: { ...process.env, HOME: home, TMPDIR: home, XDG_CONFIG_HOME: home },
            args: ['--no-sandbox', '--disable-dev-shm-usage'],
        });
        try {
            await work(browser);
        } finally {
            await browser.close();
        }
    } finally {
        await rm(home, { recursive: true, force: true });
    }
}

const entered = new Set();
// Or a test that failed would never end.
after(() => entered.forEach((socket) => socket.terminate()));

/** A peer of a channel: what it gets is thrown away. */
export async function enter(name, client) {
    const arn = `arn:aws:kinesisvideo:us-west-2:123456789012:channel/${name}/1700000000000`;
    const query = new URLSearchParams({ 'X-Amz-ChannelARN': arn, ...(client ? { 'X-Amz-ClientId': client } : {}) });
    const socket = new WebSocket(`${data.replace('http', 'ws')}/?${query}`);
    entered.add(socket);
    await new Promise((opened, failed) => { socket.onopen = opened; socket.onerror = failed; });
    return socket;
}

export const ended = (socket) => new Promise((done) => {
    if (socket.readyState === WebSocket.CLOSED) done();
    else socket.addEventListener('close', done);
});

/** Calls an operation on a channel, from an address of loopback; its status. */
export function call(operation, channel, from = '127.0.0.1') {
    const body = JSON.stringify({ ChannelName: channel });
    return new Promise((done, failed) => {
        const headers = { 'Content-Type': 'application/json', 'Content-Length': body.length };
        const sent = request(`${data}/${operation}`, { method: 'POST', headers, localAddress: from }, (answer) => {
            answer.resume();
            answer.on('end', () => done(answer.statusCode));
        });
        sent.on('error', failed);
        sent.end(body);
    });
}

/** A page is asked for until it shows what is wanted. */
export async function until(what, seen) {
    for (const began = Date.now(); Date.now() - began < milliseconds;) {
        const found = await seen();
        if (found) return found;
        await new Promise((done) => setTimeout(done, 50));
    }
    throw new Error(`not within ${milliseconds} ms: ${what}`);
}
