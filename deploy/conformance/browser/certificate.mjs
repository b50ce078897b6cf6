// A person whose browser has a certificate of their own, for whatever: the broker's ordinary names never ask for it. Chromium finds it in
// the NSS database of its home. That it would be shown can be seen at the name that does ask.
//
// HELIOGRAPH_DEVICE   directory with device.pem and device.key, a certificate and its key
// HELIOGRAPH_THINGS   the name that asks for certificates

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { withBrowser } from './browser.mjs';

const { HELIOGRAPH_HTTPS: endpoint, HELIOGRAPH_DEVICE: device, HELIOGRAPH_THINGS: things } = process.env;
const own = (name) => join(device, name);

// Puts the certificate where Chromium looks for those of its user.
async function install(home) {
    const database = join(home, '.pki', 'nssdb');
    mkdirSync(database, { recursive: true });
    const run = (program, ...args) => execFileSync(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    run('openssl', 'pkcs12', '-export', '-name', 'mine', '-inkey', own('device.key'), '-in', own('device.pem'), '-passout', 'pass:x', '-out', own('device.p12'));
    run('certutil', '-N', '--empty-password', '-d', `sql:${database}`);
    run('pk12util', '-i', own('device.p12'), '-d', `sql:${database}`, '-W', 'x');
}

// What becomes of a page: its text, the error, or that the browser awaits its user's choice.
async function opened(browser, url) {
    const context = await browser.newContext();
    const page = await context.newPage();
    try {
        const answer = await page.goto(url, { timeout: 15_000, waitUntil: 'commit' });
        return `${answer.status()} ${await answer.text()}`;
    } catch (error) {
        return error.message.split('\n')[0];
    } finally {
        await context.close();
    }
}

test('the ordinary names never ask for a certificate', { timeout: 150_000 }, async ({ signal }) => {
    const { port } = new URL(endpoint);
    const path = '/role-aliases/camera/credentials';
    const refused = /^403 .*Certificate is invalid on this endpoint/;
    await withBrowser(signal, async (_, browser) => {
        for (const name of ['localhost', '127.0.0.1']) {
            assert.match(await opened(browser, `https://${name}:${port}/ping`), /^200 /);
            assert.match(await opened(browser, `https://${name}:${port}${path}`), refused);
        }
        // Here it asks its user which certificate to show, and nobody answers.
        assert.match(await opened(browser, `https://${things}:${port}${path}`), /Timeout/);
    }, { prepare: install });
    await withBrowser(signal, async (_, browser) => {
        // One that has none shows none, and asks nobody.
        assert.match(await opened(browser, `https://${things}:${port}${path}`), refused);
    });
});
