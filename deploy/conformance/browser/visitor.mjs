// A visitor of /try: opens the page, presses its buttons, and looks at what it shows. Each page must keep to its content security
// policy, log no error, and fetch nothing from elsewhere: `finish` asserts it.

import assert from 'node:assert/strict';

const bars = [[191, 191, 191], [191, 191, 0], [0, 191, 191], [0, 191, 0], [191, 0, 191], [191, 0, 0], [0, 0, 191]];
const near = 60; // of 255, per colour: video is lossy

// Opens a page of a browser profile of its own, and notes what it must not do.
export async function visit(browser, url, { ready = 'body[data-ready=yes]', before = () => {}, argument, size = { width: 1280, height: 1000 } } = {}) {
    const context = await browser.newContext({ viewport: size });
    await context.addInitScript(() => {
        window.violations = [];
        addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => window.violations.push(`${violatedDirective} ${blockedURI}`));
    });
    await context.addInitScript(before, argument);
    const page = await context.newPage();
    page.setDefaultTimeout(45_000);
    const [errors, requests] = [[], []];
    page.on('console', (message) => {
        console.log(`page: ${message.text()}`);
        if (message.type() === 'error') {
            errors.push(message.text());
        }
    });
    page.on('pageerror', (error) => errors.push(error.stack || `${error.name}: ${error.message}`));
    page.on('request', (request) => requests.push(request.url()));
    await page.goto(url);
    await page.waitForSelector(ready);
    await page.evaluate(() => document.querySelector('#experiments')?.setAttribute('open', ''));
    page.finish = async (expected) => {
        assert.deepEqual(await page.evaluate(() => window.violations), []);
        assert.deepEqual(errors.filter((text) => !expected?.test(text)), []);
        const { hostname } = new URL(url);
        assert.deepEqual(requests.filter((it) => !it.startsWith('data:') && new URL(it).hostname !== hostname), []);
        await context.close();
    };
    return page;
}

export const useTestCard = (page) => page.check('[name=source][value=card]');
export const state = (page, side, wanted) => page.waitForSelector(`#${side}[data-state=${wanted}]`);

// Pressed in the page: the list of sessions above it grows at any moment, and a mouse whose button moves away between down and up
// makes no click.
export const pressWatch = (page) => page.$eval('[data-of=viewer] .run', (it) => it.click());

export async function watchAnew(page) {
    await pressWatch(page);
    await pressWatch(page);
}

export async function firstFrame(page) {
    await page.waitForSelector('#viewer[data-first-frame]');
    return Number(await page.getAttribute('#viewer', 'data-first-frame'));
}

// Waits until the viewer's picture has the colours that the camera painted.
export async function seesBars(page) {
    await firstFrame(page);
    const look = (wanted) => {
        const video = document.querySelector('#viewer video');
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
        const context = canvas.getContext('2d', { willReadFrequently: true });
        context.drawImage(video, 0, 0);
        return wanted.bars.every((bar, n) => {
            const at = ((n + 0.5) / wanted.bars.length) * canvas.width;
            const got = context.getImageData(at, canvas.height / 3, 1, 1).data;
            return bar.every((value, part) => Math.abs(value - got[part]) < wanted.near);
        });
    };
    await page.waitForFunction(look, { bars, near });
}

export async function chats(camera, viewer) {
    const text = `hello, größe <b>${Math.random()}</b>`;
    await viewer.waitForSelector('[data-of=viewer] .chat input:enabled');
    await viewer.fill('[data-of=viewer] .chat input', text);
    await viewer.click('[data-of=viewer] .chat button');
    await camera.waitForSelector(`[data-of=camera] .chat li:has-text("${text}")`);
    await camera.fill('[data-of=camera] .chat input', `${text} back`);
    await camera.click('[data-of=camera] .chat button');
    await viewer.waitForSelector(`[data-of=viewer] .chat li:has-text("${text} back")`);
    assert.equal(await viewer.locator('[data-of=viewer] .chat li b b').count(), 0, 'markup is text');
}

// The events of the viewer's session as the broker writes them, once they have this one: a line each.
export async function eventsUntil(page, last) {
    const found = await page.waitForFunction((last) => {
        const own = [...document.querySelectorAll('#seen .lane')].find((lane) => lane.querySelector('.who').textContent === document.querySelector('#viewer .who').textContent);
        const text = own?.querySelector('pre').textContent ?? '';
        return text.includes(last) && text;
    }, last);
    return (await found.jsonValue()).trim().split('\n').map((line) => line.trim());
}

// Asserts that events are there in this order.
export function inOrder(events, wanted) {
    let at = -1;
    for (const what of wanted) {
        at = events.findIndex((event, place) => place > at && what.test(event));
        assert.ok(at >= 0, `${what}: ${events.join('\n')}`);
    }
}

// Nothing is cut off on a small phone.
export async function narrow(page) {
    await page.setViewportSize({ width: 360, height: 740 });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'wider than 360 px');
}
