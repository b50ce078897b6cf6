// Every page in Chromium, light and dark, on a desk and on a phone: axe finds nothing, each page has one heading of the
// first level, and nothing is wider than the screen. See pages.mjs for the environment.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import test from 'node:test';
import { causes, withCauses, withHistory } from './night.mjs';
import { admin, call, data, enter, open, withBrowser } from './pages.mjs';

const axe = await readFile(createRequire(`${process.env.HELIOGRAPH_CLIENTS}/browser/package.json`).resolve('axe-core'), 'utf8');

/** Pages by their names, with what shows that they are there. */
const PAGES = {
    overview: [`${admin}/`, '.problem summary'], history: [`${admin}/#/history?from=-6h`, '.chart path[d^=M]'], channels: [`${admin}/#/channels`, 'tbody tr'], channel: [`${admin}/#/channels/cam-1`, '.lane'],
    'absent channel': [`${admin}/#/channels/zzz`, '.notice'], refused: [`${admin}/#/why`, '.refusal'], find: [`${admin}/#/find/cam`, 'tbody tr'],
    log: [`${admin}/#/log`, '.log li'], dev: [`${admin}/#/dev`, '.message'], cluster: [`${admin}/#/cluster`, 'main h1'], 'absent page': [`${admin}/#/nothing`, '.notice'],
    'sign-in': [`${admin}/#/channels`, '#token'], try: [`${admin}/try`, 'body[data-ready=yes]'], root: [`${data}/`, 'pre'],
};

test('no page keeps anybody out', { timeout: 240_000 }, () => withBrowser(async (browser) => {
    await enter('cam-1');
    const viewer = await enter('cam-1', 'phone-1');
    viewer.send(JSON.stringify({ action: 'SDP_OFFER', recipientClientId: '', messagePayload: Buffer.from('{}').toString('base64') }));
    await call('describeSignalingChannel', 'nobody-1');
    const faults = [];
    for (const [width, colorScheme] of [[1280, 'light'], [1280, 'dark'], [390, 'light'], [390, 'dark']]) {
        for (const [name, [url, seen]] of Object.entries(PAGES)) {
            const page = await open(browser, { viewport: { width, height: 844 }, colorScheme });
            if (name === 'sign-in') await page.route('**/channels?*', (route) => route.fulfill({ status: 401, json: {} }));
            if (name === 'overview' || name === 'history') await withCauses(page, admin, causes, { configuration: { needsSighup: [], needsRestart: ['listen'] } });
            await withHistory(page, causes);
            await page.goto(url);
            await page.locator(seen).first().waitFor({ state: 'attached' });
            if (name === 'overview') {
                await page.locator('.heat .cell').first().waitFor();
                await page.locator(seen).first().click();
                await page.locator('.problem tbody tr').first().waitFor();
            }
            if (name === 'try') await page.evaluate(() => document.querySelectorAll('details').forEach((one) => one.setAttribute('open', '')));
            const found = await page.evaluate(`${axe};axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice'] })`);
            faults.push(...found.violations.map(({ id, nodes }) => `${name} ${width} ${colorScheme}: ${id} ${nodes.map(({ target }) => target)}`));
            const [headings, wide] = await page.evaluate(() => [document.querySelectorAll('h1').length, document.documentElement.scrollWidth - innerWidth]);
            if (headings !== 1) faults.push(`${name}: ${headings} headings of the first level`);
            if (wide > 0) faults.push(`${name} ${width}: ${wide} px too wide`);
            await page.context().close();
        }
    }
    assert.deepEqual(faults, []);
}));
