// The page /try on a computer and on a phone: two browsers, the second of which comes by the link of the first one's QR code, over
// TLS and another address. Each is the camera once.

import test from 'node:test';
import assert from 'node:assert/strict';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { withBrowser } from './browser.mjs';
import { chats, seesBars, state, useTestCard, visit } from './visitor.mjs';

const admin = process.env.HELIOGRAPH_ADMIN;
const pictures = process.env.HELIOGRAPH_SCREENSHOTS;
const size = { width: 420, height: 900 };

test('a phone and a computer', { timeout: 120_000 }, async ({ signal }) => {
    await withBrowser(signal, (_, computer) => withBrowser(signal, async (__, device) => {
        const desk = await visit(computer, `${admin}/try`);
        await desk.click('#phone-open');
        await desk.waitForSelector('#phone[data-state=open] svg path');
        await picture(desk, 'try-qr');
        const link = await desk.getAttribute('#phone-link', 'href');
        assert.match(link, /^https:\/\/192\.168\.77\.2:\d+\/pair\/[A-Z2-7]{26}$/);

        const phone = await visit(device, link, { ready: '#pair' });
        await phone.setViewportSize(size);
        await fits(phone);
        await picture(phone, 'phone-pair');
        await phone.click('#pair');
        await phone.waitForSelector('body[data-ready=yes]');
        assert.equal(new URL(phone.url()).pathname, '/try');
        assert.equal(await phone.evaluate(() => window.isSecureContext && 'mediaDevices' in navigator), true);
        assert.equal(await phone.locator('#phone-open').count(), 0, 'codes are made on the computer');
        assert.equal(await phone.inputValue('#channel'), await desk.inputValue('#channel'));

        // One thing is asked: what the phone is to be.
        const { computer: name } = await phone.evaluate(async () => (await fetch('/try/settings')).json());
        assert.equal(name, hostname());
        assert.equal(await phone.innerText('#choose-title'), `Connected to ${name}`);
        assert.deepEqual(await phone.$$eval('button', (all) => all.filter((one) => one.checkVisibility()).map((one) => one.id)), ['be-camera', 'be-viewer']);
        await picture(phone, 'phone-choice');
        await phone.click('#be-camera'); // of which it has none: the test card takes its place
        await state(phone, 'camera', 'ready');
        assert.equal(await phone.isVisible('#viewer'), false);
        await phone.click('#experiments > summary');
        await desk.click('[data-of=viewer] .run');
        await seesBars(desk);
        await chats(phone, desk);
        await fits(phone);
        await picture(phone, 'phone-camera');
        await desk.click('[data-of=viewer] .run');
        await phone.click('#role');
        await phone.waitForSelector('#choose:not([hidden])');

        await useTestCard(desk);
        await desk.click('[data-of=camera] .run');
        await state(desk, 'camera', 'ready');
        await phone.click('#be-viewer');
        await seesBars(phone);
        await phone.click('#viewer .full');
        await phone.waitForFunction(() => document.fullscreenElement?.closest('#viewer'));
        await phone.evaluate(() => document.exitFullscreen());
        await chats(desk, phone);
        await picture(phone, 'phone-viewer');
        await seesTheConsole(phone);

        // The code has served; another browser gets none of it.
        const late = await visit(device, link, { ready: 'html[data-state=gone]' });
        assert.match(await late.innerText('main'), /New code/);
        await late.finish(/status of 410/);
        const stranger = await visit(device, new URL('/try', link).href, { ready: 'html[data-state=needed]' });
        assert.match(await stranger.innerText('main'), /Open on my phone/);
        await stranger.finish(/status of 401/);
        await desk.finish();
        await phone.finish();
    }));
});

// The console is there too, on a page of the same profile.
async function seesTheConsole(phone) {
    const page = await phone.context().newPage();
    await page.goto(new URL('/', phone.url()).href);
    await page.waitForFunction(() => /1 camera, 1 viewer/.test(document.body.innerText), undefined, { timeout: 30_000 });
    await page.close();
}

async function fits(page) {
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `wider than ${size.width} px`);
}

async function picture(page, name) {
    if (pictures) {
        await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
    }
}
