// The page /try with a camera that sleeps, in Chromium: a viewer offers, the hook calls, the camera comes, and gets the offer that
// was kept.

import test from 'node:test';
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withBrowser } from './browser.mjs';
import { start } from './own_broker.mjs';
import { eventsUntil, firstFrame, inOrder, seesBars, state, useTestCard, visit } from './visitor.mjs';

const timeout = 90_000;
const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}\n`;
const pictures = process.env.HELIOGRAPH_SCREENSHOTS;

async function picture(page, name) {
    for (const colorScheme of pictures ? ['light', 'dark'] : []) {
        await page.emulateMedia({ colorScheme });
        await page.screenshot({ path: join(pictures, `${name}-${colorScheme}.png`), fullPage: true });
    }
}

const says = (page, side, text) => page.waitForFunction(([side, text]) => document.querySelector(`#${side} .empty`).textContent.includes(text), [side, text]);

test('a viewer wakes the camera', { timeout }, async ({ signal }) => {
    const directory = await mkdtemp(join(tmpdir(), 'heliograph-'));
    let broker;
    try {
        // The hook's receiver is the broker's own admin listener: its port is known from a first start.
        const first = await start(directory, 0);
        await first.stop();
        const [config, file] = [join(directory, 'broker.toml'), join(directory, 'try.secret')];
        await writeFile(file, secret, { mode: 0o600 });
        const hook = `[[hook]]\nname = "try"\nurl = "${first.admin}/try/wake/{channel}"\nevents = ["wake"]\nchannels = "*"\n`;
        await writeFile(config, `${hook}secret_file = ${JSON.stringify(file)}\n`);
        broker = await start(directory, first.port, { admin: new URL(first.admin).host, more: ['--config', config] });
        await withBrowser(signal, async (_, browser) => {
            const page = await visit(browser, `${broker.admin}/try#channel=porch`);
            await useTestCard(page);
            assert.equal(await page.isVisible('#sleeps details'), false);
            // A camera that is late: what its viewer shows meanwhile can be read.
            let letGo;
            const held = new Promise((resolve) => {
                letGo = resolve;
            });
            await page.route('**/try/wake/porch', async (route) => {
                const response = await route.fetch();
                await held;
                await route.fulfill({ response });
            });
            await page.check('#sleeps input');
            await state(page, 'camera', 'asleep');
            await page.click('#both');
            await says(page, 'viewer', 'Waking the camera … 2 s');
            await picture(page, 'try-asleep');
            letGo();
            await seesBars(page);
            const took = await firstFrame(page);
            assert.ok(took > 2000, `${took}`);
            const events = await eventsUntil(page, 'first frame');
            inOrder(events, [/join$/, /SDP_OFFER .*kept$/, /SDP_OFFER .*delivered, was kept$/, /SDP_ANSWER .*relayed$/, /first frame$/]);
            assert.equal(events.filter((event) => /SDP_OFFER .* kept$/.test(event) && !event.includes('delivered')).length, 1, 'one offer, which was kept');
            assert.equal(await page.isVisible('.problem'), false);
            await picture(page, 'try-awake');
            // It sleeps again when it is stopped.
            await page.click('[data-of=camera] .run');
            await state(page, 'camera', 'asleep');
            await page.uncheck('#sleeps input');
            await state(page, 'camera', 'idle');
            await page.unrouteAll({ behavior: 'ignoreErrors' });
            await page.finish();
            // The console tries the hook.
            const operator = await visit(browser, `${broker.admin}/#/dev`, { ready: '#hooks li button' });
            await operator.click('#hooks li button');
            await operator.waitForFunction(() => document.querySelector('#hooks [role=status]').textContent === ' delivered');
            await picture(operator, 'console-hooks');
            await operator.finish();
        });
    } finally {
        await broker?.stop();
        await rm(directory, { recursive: true, force: true });
    }
});

test('without a hook the page says so, and somebody else can start the camera', { timeout }, async ({ signal }) => {
    const directory = await mkdtemp(join(tmpdir(), 'heliograph-'));
    let broker;
    try {
        broker = await start(directory, 0);
        await withBrowser(signal, async (_, browser) => {
            const page = await visit(browser, `${broker.admin}/try#channel=porch`);
            await useTestCard(page);
            await page.check('#sleeps input');
            await page.click('#both');
            await says(page, 'viewer', 'No answer yet: the offer waits for the camera …');
            await page.click('#sleeps summary');
            assert.match(await page.innerText('#sleeps pre'), /\[\[hook\]\][^]*\/try\/wake\/\{channel\}/);
            await picture(page, 'try-uncalled');
            await page.click('[data-of=camera] .run');
            await seesBars(page);
            await page.finish();
        });
    } finally {
        await broker?.stop();
        await rm(directory, { recursive: true, force: true });
    }
});
