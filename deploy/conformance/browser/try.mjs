// The page /try in Chromium: a camera and a viewer, chat, and what is shown when something stops.

import test from 'node:test';
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withBrowser } from './browser.mjs';
import { start } from './own_broker.mjs';
import { chats, firstFrame, narrow, seesBars, state, stepsOf, useTestCard, visit } from './visitor.mjs';

const timeout = 90_000;
const admin = process.env.HELIOGRAPH_ADMIN;

test('camera and viewer in one tab', { timeout }, async ({ signal }) => {
    await withBrowser(signal, async (_, browser) => {
        const page = await visit(browser, `${admin}/try`);
        await useTestCard(page);
        await page.click('#both');
        await seesBars(page);
        await chats(page, page);
        // A start of everything is slower than a watch, and a busy machine than an idle one.
        const frames = [];
        for (let watch = 0; watch < 5 && !(Math.min(...frames) <= 1000); watch += 1) {
            await page.click('#viewer .run');
            await page.click('#viewer .run');
            frames.push(await firstFrame(page));
        }
        console.log(`first frames after Watch: ${frames.map(Math.round)} ms`);
        assert.ok(Math.min(...frames) <= 1000, `${frames}`);
        const steps = await stepsOf(page);
        for (const step of ['ListSignalingChannels', 'GetIceServerConfig', 'WebSocket', 'SDP_OFFER', 'SDP_ANSWER', 'ICE_CANDIDATE']) {
            for (const side of ['camera', 'viewer']) {
                assert.ok(steps.some((it) => it.side === side && it.what === step && /\d B|open/.test(it.more)), `${side} ${step}`);
            }
        }
        assert.deepEqual(steps.filter(({ failed }) => failed), []);
        // Figures come once a second.
        await page.waitForFunction(() => /640 × 360/.test(document.querySelector('#viewer [data-figure=picture]').textContent));
        await page.waitForFunction(() => /bit\/s/.test(document.querySelector('#viewer [data-figure=bitrate]').textContent));
        await page.waitForFunction(() => /host → .*udp/.test(document.querySelector('#viewer [data-figure=path]').textContent));
        // Signaling that is dropped leaves the media, and a camera that reconnects serves a viewer again.
        await page.click('#viewer .drop');
        await state(page, 'viewer', 'dropped');
        await chats(page, page);
        await page.click('#viewer .drop');
        await state(page, 'viewer', 'ready');
        await page.click('#camera .again');
        await state(page, 'camera', 'ready');
        await page.click('#viewer .run');
        await page.click('#viewer .run');
        await seesBars(page);
        await narrow(page);
        await page.finish();
    });
});

test('start both is there while there is something to start', { timeout }, async ({ signal }) => {
    await withBrowser(signal, async (_, browser) => {
        const page = await visit(browser, `${admin}/try#channel=try-both`);
        const isOffered = (wanted) => page.waitForSelector(`#both:${wanted ? 'enabled' : 'disabled'}`);
        await useTestCard(page);
        await page.focus('#both');
        await page.keyboard.press('Enter');
        await seesBars(page);
        await isOffered(false);
        for (const side of ['camera', 'viewer']) {
            await page.click(`#${side} .run`);
            await isOffered(true);
            await page.click('#both');
            await isOffered(false);
        }
        // A watch that begins while the one before is being answered gets an answer of its own.
        for (let watch = 0; watch < 20; watch += 1) {
            await page.click('#viewer .run');
            await page.waitForTimeout(watch * 5);
        }
        await seesBars(page);
        await page.fill('#channel', 'try-both-2');
        await isOffered(true);
        await page.fill('#channel', 'try-both');
        await isOffered(false);
        await page.finish();
    });
});

test('a small screen and a wide one', { timeout }, async ({ signal }) => {
    await withBrowser(signal, async (_, browser) => {
        const page = await visit(browser, `${admin}/try#channel=try-small`);
        await useTestCard(page);
        const first = () => page.$$eval('.cards video', (videos) => {
            const [one, other] = videos.map((video) => video.getBoundingClientRect().top);
            return one < other ? videos[0].closest('.card').id : 'beside';
        });
        const resize = async (width, inFront) => {
            await page.setViewportSize({ width, height: 900 });
            await page.waitForSelector(`.cards > #${inFront}:first-child`);
        };
        assert.equal(await first(), 'beside');
        await page.click('#both');
        await seesBars(page);
        for (const [width, wanted] of [[420, 'viewer'], [1280, 'beside']]) {
            await resize(width, wanted === 'viewer' ? 'viewer' : 'camera');
            assert.equal(await first(), wanted);
            assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
            // What moved goes on, and each lane has its title.
            await page.waitForFunction(() => [...document.querySelectorAll('video')].every((video) => !video.paused));
            const titles = await page.$$eval('.lanes span', (all) => all.filter((it) => it.checkVisibility()).map((it) => it.textContent));
            assert.deepEqual(titles, ['camera', 'broker', 'viewer']);
            const names = await page.$$eval('#steps .side', (all) => all.filter((it) => it.getBoundingClientRect().width > 20).map((it) => it.textContent));
            assert.deepEqual([...new Set(names)].sort(), wanted === 'viewer' ? ['camera', 'viewer'] : []);
        }
        // The keyboard meets what it sees, in that order.
        await resize(420, 'viewer');
        await page.focus('#channel');
        const met = [];
        while (met.at(-1) !== 'camera' && met.length < 20) {
            await page.keyboard.press('Tab');
            met.push(await page.evaluate(() => document.activeElement.closest('.card')?.id ?? 'none'));
        }
        assert.deepEqual([...new Set(met)], ['viewer', 'camera']);
        await page.finish();
    });
});

test('camera and viewer of two people', { timeout }, async ({ signal }) => {
    await withBrowser(signal, async (_, browser) => {
        const camera = await visit(browser, `${admin}/try`);
        await useTestCard(camera);
        await camera.click('#camera .run');
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
        await page.click('#viewer .run');
        await page.waitForFunction(() => /waits at the broker/.test(document.querySelector('#viewer .problem').textContent));
        await page.click('#camera .run');
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
        const failed = (await stepsOf(page)).filter((step) => step.failed);
        assert.deepEqual(failed.map(({ side, more }) => [side, more]), [['camera', advice]]);
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
        assert.match((await stepsOf(page))[0].more, /the test card takes its place/);
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
        await page.waitForFunction(() => /ICE finds no way/.test(document.querySelector('#viewer .problem').textContent));
        const problem = await page.innerText('#viewer .problem');
        assert.match(problem, /^Signaling is done.* 0 addresses here, 0 there, no relay/);
        const last = (await stepsOf(page)).at(-1);
        assert.deepEqual([last.side, last.failed, last.more], ['viewer', true, problem]);
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
        await page.click('#viewer .run');
        await state(page, 'viewer', 'failed');
        const failed = (await stepsOf(page)).filter((step) => step.failed);
        assert.deepEqual(failed.map(({ side, what }) => [side, what]), [['viewer', 'WebSocket']]);
        assert.ok(failed[0].more.startsWith(`fault_injected (${id}): A fault that a test scripted`), failed[0].more);
        const colour = await page.$eval('#steps .failed .more', (row) => getComputedStyle(row).color);
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
            await page.click('#viewer .run');
            await page.click('#viewer .run');
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
