// The page /try in Chromium: a camera and a viewer, chat, and what is shown when something stops.

import test from 'node:test';
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withBrowser } from './browser.mjs';
import { start } from './own_broker.mjs';
import { chats, eventsUntil, firstFrame, inOrder, narrow, pressWatch, seesBars, state, useTestCard, visit, watchAnew } from './visitor.mjs';

const timeout = 90_000;
const admin = process.env.HELIOGRAPH_ADMIN;

test('camera and viewer in one tab', { timeout }, async ({ signal }) => {
    await withBrowser(signal, async (_, browser) => {
        const page = await visit(browser, `${admin}/try`);
        const loaded = await page.evaluate(() => performance.getEntries().reduce((sum, one) => sum + (one.name.includes('/assets/') || one.entryType === 'navigation' ? one.transferSize : 0), 0));
        assert.ok(loaded > 30_000 && loaded <= 120_000, `${loaded} bytes of the first load`);
        await useTestCard(page);
        await page.click('#both');
        await seesBars(page);
        await chats(page, page);
        // A start of everything is slower than a watch, and a busy machine than an idle one.
        const frames = [];
        for (let watch = 0; watch < 5 && !(Math.min(...frames) <= 1000); watch += 1) {
            await watchAnew(page);
            frames.push(await firstFrame(page));
        }
        console.log(`first frames after Watch: ${frames.map(Math.round)} ms`);
        assert.ok(Math.min(...frames) <= 1000, `${frames}`);
        const events = await eventsUntil(page, 'first frame');
        inOrder(events, [/GetIceServerConfig answered$/, /join$/, /SDP_OFFER +to the master +\d+ B +relayed/, /SDP_ANSWER +to the viewer +\d+ B +relayed/, /peer connected$/, /first frame$/]);
        assert.ok(events.some((event) => /ICE_CANDIDATE to the master +\d+ B +relayed/.test(event)), `${events}`);
        assert.equal(await page.isVisible('.problem'), false);
        // Figures come once a second.
        await page.waitForFunction(() => /640 × 360/.test(document.querySelector('#viewer [data-figure=picture]').textContent));
        await page.waitForFunction(() => /bit\/s/.test(document.querySelector('#viewer [data-figure=bitrate]').textContent));
        await page.waitForFunction(() => /host → .*udp/.test(document.querySelector('#viewer [data-figure=path]').textContent));
        // Signaling that is dropped leaves the media, and a camera that reconnects serves a viewer again.
        await page.click('[data-of=viewer] .drop');
        await state(page, 'viewer', 'dropped');
        await chats(page, page);
        await page.click('[data-of=viewer] .drop');
        await state(page, 'viewer', 'ready');
        await page.click('[data-of=camera] .again');
        await state(page, 'camera', 'ready');
        await watchAnew(page);
        await seesBars(page);
        await narrow(page);
        await page.finish();
    });
});

test('one button starts what does not run, and stops all', { timeout }, async ({ signal }) => {
    await withBrowser(signal, async (_, browser) => {
        const page = await visit(browser, `${admin}/try#channel=try-both`);
        const isOffered = (wanted) => page.waitForSelector(`#both:text-is("${wanted ? 'Start' : 'Stop'}")`);
        await useTestCard(page);
        await page.focus('#both');
        await page.keyboard.press('Enter');
        await seesBars(page);
        await isOffered(false);
        for (const side of ['camera', 'viewer']) {
            await page.click(`[data-of=${side}] .run`);
            await isOffered(true);
            await page.click('#both');
            await isOffered(false);
        }
        // A watch that begins while the one before is being answered gets an answer of its own.
        for (let watch = 0; watch < 20; watch += 1) {
            await pressWatch(page);
            await page.waitForTimeout(watch * 5);
        }
        assert.equal(await page.innerText('[data-of=viewer] .run'), 'Stop watching');
        await seesBars(page);
        await page.fill('#channel', 'try-both-2');
        await isOffered(true);
        await page.fill('#channel', 'try-both');
        await isOffered(false);
        // Another picture is no other connection.
        const watched = await page.innerText('#viewer .who');
        await page.evaluate(() => {
            navigator.mediaDevices.getDisplayMedia = async () => {
                const canvas = document.createElement('canvas');
                const context = canvas.getContext('2d');
                setInterval(() => context.fillRect(0, 0, 9, 9), 50);
                return canvas.captureStream(20);
            };
        });
        await page.check('[name=source][value=screen]');
        await page.waitForFunction(() => document.querySelector('#camera video').videoWidth === 300);
        await useTestCard(page);
        await seesBars(page);
        assert.equal(await page.innerText('#viewer .who'), watched);
        await page.click('#both');
        await state(page, 'camera', 'idle');
        await state(page, 'viewer', 'idle');
        await page.finish();
    });
});

test('the first screen has both pictures, the time to the first frame and the session as it was', { timeout }, async ({ signal }) => {
    await withBrowser(signal, async (_, browser) => {
        for (const size of [{ width: 1280, height: 800 }, { width: 390, height: 844 }]) {
            const page = await visit(browser, `${admin}/try#channel=try-first`, { size });
            await page.evaluate(() => document.querySelector('#experiments').removeAttribute('open'));
            await useTestCard(page);
            await page.click('#both');
            await seesBars(page);
            await eventsUntil(page, 'first frame');
            // In one step: between two, the page may draw the element anew.
            const box = (selector) => page.evaluate((it) => document.querySelector(it).getBoundingClientRect().toJSON(), selector);
            for (const part of ['#both', '.sources', '#share', '#camera .screen', '#viewer .screen', '#first', '#seen .lane svg']) {
                const { y, height } = await box(part);
                assert.ok(height > 0 && y >= 0 && y + height <= size.height, `${part} ends at ${y + height} of ${size.height}`);
            }
            for (const side of ['camera', 'viewer']) {
                const { width, height } = await box(`#${side} .screen`);
                assert.ok(Math.abs(width / height - 16 / 9) < 0.02, `${width} × ${height}`);
            }
            const [shown, took] = [parseFloat(await page.innerText('#first')), await firstFrame(page)];
            assert.ok(Math.abs(shown - took) <= 1 || Math.abs(shown * 1000 - took) <= 10, `${shown} of ${took} ms`);
            const marks = await page.$$eval('#seen .lane path', (all) => all.map((it) => it.textContent));
            for (const what of ['GetIceServerConfig answered', 'join', 'SDP_OFFER relayed', 'SDP_ANSWER relayed', 'peer connected', 'first frame']) {
                assert.ok(marks.some((mark) => mark.endsWith(what)), `${what}: ${marks}`);
            }
            await page.finish();
        }
    });
});

test('the page is as long as what it shows, whatever was watched before', { timeout }, async ({ signal }) => {
    await withBrowser(signal, async (_, browser) => {
        const page = await visit(browser, `${admin}/try#channel=try-long`);
        await useTestCard(page);
        await page.click('#both');
        for (let watch = 0; watch < 6; watch += 1) {
            await seesBars(page);
            await watchAnew(page);
        }
        await seesBars(page);
        const [page_, end] = await page.evaluate(() => [document.documentElement.scrollHeight, document.querySelector('main').getBoundingClientRect().bottom + scrollY]);
        assert.ok(page_ <= Math.max(end, 1000) + 2, `${page_} px, and the content ends at ${end}`);
        // The last watch is in sight.
        await eventsUntil(page, 'first frame');
        const top = await page.evaluate(() => {
            const [seen, lane] = ['#seen', '#seen > div > .lanes > .lane'].map((it) => document.querySelector(it).getBoundingClientRect());
            return lane.top - seen.top;
        });
        assert.ok(top > 0 && top < 400, `${top}`);
        await page.finish();
    });
});

test('camera and viewer of two people', { timeout }, async ({ signal }) => {
    await withBrowser(signal, async (_, browser) => {
        const camera = await visit(browser, `${admin}/try`);
        await useTestCard(camera);
        await camera.click('[data-of=camera] .run');
        await state(camera, 'camera', 'ready');
        const link = await camera.getAttribute('#tab', 'href');
        const viewer = await visit(browser, admin + link);
        await seesBars(viewer);
        await chats(camera, viewer);
        assert.equal(await viewer.isVisible('#camera'), false);
        await viewer.close();
        await camera.waitForFunction(() => document.querySelector('[data-figure=viewers]').textContent === '0');
        await camera.finish();
    });
});

test('an offer waits for its camera', { timeout }, async ({ signal }) => {
    await withBrowser(signal, async (_, browser) => {
        const page = await visit(browser, `${admin}/try#channel=try-late`);
        await useTestCard(page);
        await page.click('[data-of=viewer] .run');
        await page.waitForFunction(() => /No answer yet: the offer waits for the camera … 5 s/.test(document.querySelector('#viewer .empty').textContent));
        // That is as it should be: nothing is red.
        assert.equal(await page.isVisible('#viewer .problem'), false);
        await page.click('[data-of=camera] .run');
        await seesBars(page);
        assert.equal(await page.isVisible('#viewer .problem'), false);
        await page.finish();
    });
});

test('a camera that is not allowed', { timeout }, async ({ signal }) => {
    await withBrowser(signal, async (_, browser) => {
        const page = await visit(browser, `${admin}/try`, { before: camerasFail, argument: 'NotAllowedError' });
        assert.equal(await page.isChecked('[value=camera]'), true);
        await page.click('#both');
        await page.waitForFunction(() => document.querySelector('#camera .problem').textContent !== '');
        const advice = await page.innerText('#camera .problem');
        assert.match(advice, /use the test card/i);
        await useTestCard(page);
        await page.click('#both');
        await seesBars(page);
        assert.equal(await page.isVisible('#camera .problem'), false);
        await page.finish();
    });
});

test('a machine without a camera', { timeout }, async ({ signal }) => {
    await withBrowser(signal, async (_, browser) => {
        const page = await visit(browser, `${admin}/try`, { before: camerasFail, argument: 'NotFoundError' });
        await page.click('#both'); // nothing else: one click shows a picture
        await seesBars(page);
        assert.equal(await page.isChecked('[value=card]'), true);
        assert.match(await page.innerText('#hint'), /the test card takes its place/);
        await page.finish();
    });
});

test('two sides that no address joins', { timeout }, async ({ signal }) => {
    await withBrowser(signal, async (_, browser) => {
        const before = () => {
            const Connection = window.RTCPeerConnection;
            window.RTCPeerConnection = function RelayOnly(settings) {
                return new Connection({ ...settings, iceTransportPolicy: 'relay' });
            };
        };
        const page = await visit(browser, `${admin}/try`, { before });
        await useTestCard(page);
        await page.click('#both');
        await page.waitForFunction(() => /ICE found no route/.test(document.querySelector('#viewer .problem').textContent));
        const problem = await page.innerText('#viewer .problem');
        assert.match(problem, /^Signaling is done.* 0 addresses here, 0 there, no relay/);
        await eventsUntil(page, 'peer failed');
        await page.finish();
    });
});

test('a connect that a test has refused', { timeout }, async ({ signal }) => {
    const refuse = { error: 'AccessDeniedException' };
    const fault = { on: 'connect', match: { channel: 'try-refused', role: 'viewer' }, do: { refuse } };
    const made = await fetch(`${admin}/dev/faults`, { method: 'POST', body: JSON.stringify(fault) });
    const { id } = await made.json();
    await withBrowser(signal, async (_, browser) => {
        const page = await visit(browser, `${admin}/try#channel=try-refused`);
        await useTestCard(page);
        await page.click('[data-of=viewer] .run');
        await state(page, 'viewer', 'failed');
        const why = await page.innerText('#viewer .problem');
        assert.ok(why.startsWith(`fault_injected (${id}): A fault injected by a test`), why);
        const colour = await page.$eval('#viewer .problem', (it) => getComputedStyle(it).color);
        const [, red, green, blue] = /(\d+), (\d+), (\d+)/.exec(colour).map(Number);
        assert.ok(red > green + 50 && red > blue + 50, colour);
        // It was for one connect.
        await page.click('#both');
        await seesBars(page);
        await page.finish(/WebSocket connection to/);
    });
});

test('a broker that stops and starts again', { timeout }, async ({ signal }) => {
    const directory = await mkdtemp(join(tmpdir(), 'heliograph-'));
    let broker = await start(directory, 0);
    try {
        await withBrowser(signal, async (_, browser) => {
            const page = await visit(browser, `${broker.admin}/try`);
            await useTestCard(page);
            await page.click('#both');
            await seesBars(page);
            await broker.stop();
            await state(page, 'camera', 'lost');
            await state(page, 'viewer', 'lost');
            await chats(page, page); // what is connected stays connected
            broker = await start(directory, broker.port);
            await state(page, 'camera', 'ready');
            await state(page, 'viewer', 'ready');
            await watchAnew(page);
            await seesBars(page);
            // Only what could not be reached meanwhile, or met a broker that was about to leave.
            await page.finish(/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_SOCKET_NOT_CONNECTED|WebSocket connection to|status of 503/);
        });
    } finally {
        await broker.stop();
        await rm(directory, { recursive: true, force: true });
    }
});

// In the page: no camera can be opened, for this reason.
function camerasFail(name) {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', name));
}
