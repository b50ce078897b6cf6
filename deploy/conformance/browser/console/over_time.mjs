// Causes and the history in Chromium: what is wrong is said once and stays where it is, and last night is read by pointer and by
// keys. See pages.mjs for the environment.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { ago, causes, withCauses, withHistory } from './night.mjs';
import { admin, open, pictures, until, withBrowser } from './pages.mjs';

test('causes have members, say once that they begin, and stay under the pointer', { timeout: 90_000 }, () => withBrowser(async (browser) => {
    const page = await open(browser);
    let all = causes();
    await withCauses(page, admin, () => all, { configuration: { running: 'a', file: 'b', needsSighup: [], needsRestart: ['limits.connections'] } });
    const marked = [];
    await page.route('**/problems/*/known', async (route) => {
        marked.push([route.request().method(), route.request().postDataJSON()]);
        await route.fulfill({ json: {} });
    });
    await page.goto(admin);
    await page.locator('#status', { hasText: '3 problems' }).waitFor();
    assert.equal(await page.title(), '(3) Overview – Heliograph');
    assert.match(await page.locator('link[rel=icon]').getAttribute('href'), /alert/);
    assert.equal(await page.locator('#said').textContent(), '', 'what a page begins with is not said');
    await page.getByText('limits.connections (needs a restart)').waitFor();
    const rows = page.locator('.problem');
    assert.equal(await rows.count(), 4);
    assert.equal(await page.locator('.problem b b').count(), 0, 'a title is text');
    await rows.nth(3).getByText(/^from .*, ended .*, camera back$/).waitFor();
    assert.ok((await rows.first().boundingBox()).y < (await page.locator('.figures').boundingBox()).y);

    // By the keyboard: its members, what they share, and a mark.
    await rows.first().locator('summary').focus();
    await page.keyboard.press('Enter');
    await rows.first().getByText('28 of 30 have user agent cam-fw/2.1.7, and 2 of 4,000 others.').waitFor();
    await until('28 members', async () => await rows.first().locator('tbody tr').count() === 28);
    await rows.first().getByText('28 of 30 are kept.').waitFor();
    await rows.first().getByLabel('Known for').selectOption('8 hours');
    await rows.first().getByLabel('Why').fill('new keys come at nine');
    await page.keyboard.press('Enter');
    await rows.first().getByText('Noted.').waitFor();
    const [[method, { until: end, why }]] = marked;
    assert.deepEqual([method, why, Math.round((Date.parse(end) - Date.now()) / 3_600_000)], ['POST', 'new keys come at nine', 8]);

    // One more is said in one sentence, below the rows that somebody reads; a known one counts no more.
    all = [{ ...all[0], id: 'more', title: 'Disk: full soon', channels: 0 }, { ...all[0], known: { until: ago(-3600), by: 'ops', why } }, ...all.slice(1)];
    await until('a sentence', async () => await page.locator('#said').textContent() === 'New problem: Disk: full soon.');
    assert.deepEqual(await page.locator('.problem .who').allTextContents(), [...causes().map(({ title }) => title), 'Disk: full soon']);
    await rows.first().getByText(/^Known until .*: new keys come at nine$/).waitFor();
    assert.equal(await page.title(), '(3) Overview – Heliograph');
    await rows.first().locator('summary').click();
    await page.locator('h1').first().evaluate(() => document.activeElement?.blur());
    await page.mouse.move(5, 5);
    await until('the gravest first', async () => await page.locator('.problem .who').first().textContent() === 'Disk: full soon');
    all = [];
    await page.locator('.fine', { hasText: 'No problems.' }).waitFor();
    assert.equal(await page.title(), 'Overview – Heliograph');
    await page.innocent();
}));

test('last night is read by pointer and by keys, and its address is kept', { timeout: 90_000 }, () => withBrowser(async (browser) => {
    const page = await open(browser, { timezoneId: 'Asia/Kolkata' });
    await withCauses(page, admin, causes);
    await withHistory(page, causes);
    await page.route('**/refusals?*', (route) => route.fulfill({ json: { next: null, found: 1, refusals: [{ requestId: 'r-1', at: ago(1600), check: 'signature_mismatch', channel: 'porch-1' }] } }));
    await page.goto(`${admin}/#/history?from=-7d&to=now`);
    await page.getByText('History begins here.').waitFor();
    await page.getByText(/UTC\+5:30, a row every 1 min\./).waitFor();
    await page.getByRole('button', { name: '1 h', exact: true }).click();
    await page.getByText(/a row every 1 min\.$/).waitFor();
    const label = await page.locator('.chart svg').first().getAttribute('aria-label');
    assert.match(label, /^Connections, open: cameras 100, between 70 and 100; viewers .*; from .* to .* UTC\+5:30$/);

    // The crosshair is on every chart; Enter lists what was wrong.
    const cursor = page.getByRole('slider');
    await cursor.focus();
    for (let row = 0; row < 20; row += 1) await page.keyboard.press('ArrowLeft');
    const moments = await page.locator('.chart .when').allTextContents();
    assert.ok(moments.length === 8 && new Set(moments).size === 1 && moments[0].endsWith('UTC+5:30'), moments);
    assert.match(await cursor.getAttribute('aria-valuetext'), /cameras 70, .*signature 30, /);
    await page.keyboard.press('Enter');
    await page.locator('.problem', { hasText: 'Key AKIDNORTH' }).waitFor();
    await page.getByText('signature_mismatch: porch-1').waitFor();
    assert.match(page.url(), /from=-1h&to=now&at=20/);

    // A mark has words; a brush zooms, and back leads back.
    await page.getByRole('button', { name: /the process was killed$/ }).click();
    const box = await page.locator('.chart svg').nth(1).boundingBox();
    await page.mouse.move(box.x + box.width * 0.4, box.y + 20);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.7, box.y + 20, { steps: 4 });
    await page.mouse.up();
    await until('a span in the address', async () => /from=20.*&to=20/.test(page.url()));
    await page.getByRole('button', { name: 'UTC+5:30' }).click();
    await page.getByText(/ UTC, a row every 1 min\.$/).waitFor();
    await page.locator('summary', { hasText: 'Table' }).click();
    await page.getByRole('columnheader', { name: 'Time (UTC)' }).waitFor();
    assert.ok(await page.locator('tbody tr').count() <= 20, 'a third of an hour');
    await page.goBack();
    await until('an hour', async () => /from=-1h/.test(page.url()));
    await page.innocent();
}));

test('pictures of a night at two widths, light and dark', { skip: pictures === undefined, timeout: 120_000 }, () => withBrowser(async (browser) => {
    for (const [width, colorScheme] of [[1280, 'light'], [1280, 'dark'], [390, 'light'], [390, 'dark']]) {
        const page = await open(browser, { viewport: { width, height: 900 }, colorScheme });
        await withCauses(page, admin, causes);
        await withHistory(page, causes);
        await page.goto(admin);
        await page.locator('.problem summary').first().click();
        await page.locator('.problem tbody tr').first().waitFor();
        await page.screenshot({ path: join(pictures, `causes-${width}-${colorScheme}.png`), fullPage: true });
        await page.goto(`${admin}/#/history?from=-6h&to=now&at=${ago(1500)}`);
        await page.locator('.chart path').first().waitFor({ state: 'attached' });
        await page.locator('.problem').first().waitFor();
        await page.screenshot({ path: join(pictures, `history-${width}-${colorScheme}.png`), fullPage: true });
        await page.innocent();
    }
}));
