// The page /try on a machine that has loopback alone, which a network namespace is: what it says, and that its advice helps.

import test from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withBrowser } from './browser.mjs';
import { start } from './own_broker.mjs';
import { narrow, seesBars, useTestCard, visit, watchAnew } from './visitor.mjs';

const pictures = process.env.HELIOGRAPH_SCREENSHOTS;

test('a machine without a network', { timeout: 120_000 }, async ({ signal }) => {
    const directory = await mkdtemp(join(tmpdir(), 'heliograph-'));
    const broker = await start(directory, 0);
    try {
        await withBrowser(signal, async (_, browser) => {
            const page = await visit(browser, `${broker.admin}/try`);
            await useTestCard(page);
            assert.equal(await page.isVisible('#no-network'), false);
            await page.click('#both');
            await page.waitForSelector('#no-network', { state: 'visible' });
            assert.match(await page.innerText('#no-network'), /This machine has no network; browsers do not use loopback for media/);
            await picture(page);

            // The commands of the advice, with another kind of interface: not every kernel has dummies.
            const advice = await page.innerText('#no-network pre');
            const [add, ...commands] = advice.trim().split('\n').map((line) => line.replace(/^sudo /, '').replace('type dummy', 'type veth peer name dummy1'));
            [add, 'ip link set dummy1 up', ...commands].forEach((command) => execFileSync('sh', ['-ec', command]));
            // Chromium learns of an address some seconds late; connections that were made before find none all the same.
            await page.waitForFunction(findsAddress);
            // Not in all of its parts at once: a viewer that finds none watches again, until the test's time is over.
            for (let shown = null; !shown;) {
                await watchAnew(page);
                shown = await page.waitForSelector('#viewer[data-first-frame]', { timeout: 10_000 }).catch(() => null);
            }
            await seesBars(page);
            await page.waitForSelector('#no-network', { state: 'hidden' });
            assert.deepEqual(await page.evaluate(connectsWithoutAnAddress), [false, true]);
            await narrow(page);
            await page.finish();
        }, { loopback: false });
    } finally {
        await broker.stop();
        await rm(directory, { recursive: true, force: true });
    }
});

// In the page: what is shown of a connection that finds no address of this machine, and that the other side reaches all the same.
async function connectsWithoutAnAddress() {
    const { watchGathering } = await import('/assets/try/network.js');
    const connection = Object.assign(new EventTarget(), { iceGatheringState: 'complete', connectionState: 'connecting', getConfiguration: () => ({}) });
    const shown = [];
    watchGathering(connection, ({ hasNetwork }) => shown.push(hasNetwork));
    connection.dispatchEvent(new Event('icegatheringstatechange'));
    connection.connectionState = 'connected';
    connection.dispatchEvent(new Event('connectionstatechange'));
    return shown;
}

// In the page: whether a new connection finds an address of this machine.
async function findsAddress() {
    const connection = new RTCPeerConnection();
    connection.createDataChannel('probe');
    const found = new Promise((resolve) => {
        connection.onicecandidate = ({ candidate }) => resolve(Boolean(candidate?.candidate));
        setTimeout(resolve, 1000, false);
    });
    await connection.setLocalDescription();
    const does = await found;
    connection.close();
    return does;
}

async function picture(page) {
    await narrow(page);
    if (pictures !== undefined) {
        await mkdir(pictures, { recursive: true });
        for (const [width, colorScheme] of [[420, 'light'], [420, 'dark'], [1280, 'dark'], [1280, 'light']]) {
            await page.emulateMedia({ colorScheme });
            await page.setViewportSize({ width, height: 1000 });
            await page.screenshot({ path: join(pictures, `try-no-network-${width}-${colorScheme}.png`), fullPage: true });
        }
    }
}
