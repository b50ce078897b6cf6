// Many tabs of one browser: they share one event stream, whoever reads it, and all of them are up to date. See pages.mjs for the
// environment.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import test from 'node:test';
import { admin, call, ended, enter, open, until, withBrowser } from './pages.mjs';

/** Connections to the admin listener that are established, without those of this process. */
async function sockets() {
    const port = Number(new URL(admin).port).toString(16).toUpperCase().padStart(4, '0');
    const rows = (await readFile('/proc/net/tcp', 'utf8')).split('\n').map((row) => row.trim().split(/\s+/));
    return rows.filter(([, local, , state]) => local?.endsWith(`:${port}`) && state === '01').length;
}

const streams = async () => Number(/^heliograph_streams (\d+)$/m.exec(await (await fetch(`${admin}/metrics`, { headers: { Connection: 'close' } })).text())[1]);
const age = (page) => page.locator('.foot').textContent();

/** All of these pages show another second than before. */
async function move(pages, milliseconds) {
    const began = Date.now();
    const before = await Promise.all(pages.map(age));
    await Promise.all(pages.map((page, place) => until(`figures of tab ${place} move`, async () => await age(page) !== before[place])));
    assert.ok(Date.now() - began <= milliseconds, `after ${Date.now() - began} ms`);
}

test('eight tabs share a stream, and one that reads for them is replaced', { timeout: 180_000 }, () => withBrowser(async (browser) => {
    const first = await open(browser);
    const reading = new Set();
    const watched = (page) => {
        page.on('request', (request) => { if (request.url().includes('/events?')) reading.add(page); });
        return page;
    };
    const tabs = [watched(first)];
    while (tabs.length < 8) tabs.push(watched(await first.context().newPage()));
    const peers = [await enter('cam-1')];
    const places = ['#/', '#/channels', '#/channels/cam-1', '#/channels/cam-1?region=eu-west-1&account=5', '#/why', '#/log', '#/dev', 'try'];
    for (const [place, page] of tabs.entries()) await page.goto(`${admin}/${places[place]}`);
    const [, channels, camera, other, why, log, , trial] = tabs;
    await trial.waitForSelector('body[data-ready=yes]');
    await until('one stream', async () => await streams() === 1);

    // Each page has what is its own.
    peers.push(await enter('cam-1', 'phone-8'));
    await camera.getByRole('rowheader', { name: 'phone-8' }).waitFor();
    await channels.getByRole('row', { name: 'cam-1' }).getByRole('cell', { name: '1' }).first().waitFor();
    await other.locator('.notice', { hasText: 'There is no such channel' }).waitFor();
    await call('describeSignalingChannel', 'nobody-8');
    await why.locator('.refusal', { hasText: 'nobody-8' }).waitFor();
    await log.locator('.log', { hasText: 'nobody-8' }).waitFor();

    // Ten ways through the pages, one of them to another document and back; then every tab is on the overview.
    for (const place of ['#/channels', '#/log', '#/why', '#/channels/cam-1', '#/dev', '#/find/cam', '#/', '#/log']) {
        for (const page of tabs.slice(0, 7)) await page.goto(`${admin}/${place}`);
    }
    await camera.goto(`${admin}/try`);
    await camera.goBack();
    for (const page of tabs) await page.goto(`${admin}/#/`);
    for (const page of tabs) await page.locator('#status', { hasText: /^(ok|\d+ problems?)$/ }).waitFor();
    await move(tabs, 3000);
    await until('one stream', async () => await streams() === 1);
    assert.ok(await sockets() <= 6, `${await sockets()} connections`);

    // One that reads stands still; then it ends.
    const reader = async () => {
        reading.clear();
        for (const page of tabs) await page.goto(`${admin}/#/channels/cam-1`);
        for (const page of tabs) await page.goto(`${admin}/#/`);
        return until('somebody reads', async () => [...reading].at(-1));
    };
    const frozen = await reader();
    const rest = tabs.filter((page) => page !== frozen);
    const stopped = frozen.evaluate(() => { for (const until = Date.now() + 8000; Date.now() < until;); });
    await new Promise((done) => setTimeout(done, 1000)); // what it had passed on is shown
    await move(rest, 5000);
    await stopped;
    await move(tabs, 3000);
    const ends = await reader();
    await ends.close();
    await move(tabs.filter((page) => page !== ends), 5000);
    await until('one stream', async () => await streams() === 1);
    if (ends !== first) await first.innocent();
    for (const peer of peers) { peer.close(); await ended(peer); }
}));

test('where a browser has no locks, a tab has a stream while it is shown', { timeout: 60_000 }, () => withBrowser(async (browser) => {
    const page = await open(browser);
    await page.addInitScript(() => Object.defineProperty(Navigator.prototype, 'locks', { value: undefined }));
    await page.goto(admin);
    await page.locator('.foot', { hasText: 'up for' }).waitFor();
    await until('a stream', async () => await streams() === 1);
    const hide = (hidden) => page.evaluate((hidden) => {
        Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
    await hide(true);
    await until('no stream', async () => await streams() === 0);
    await hide(false);
    await move([page], 3000);
    await page.innocent();
}));
