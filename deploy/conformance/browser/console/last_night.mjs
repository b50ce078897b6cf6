// A night of trouble, read in the morning by the keyboard alone: what thirty cameras have, since when, and what one has.
// HELIOGRAPH_NIGHT has the key and both outages; see pages.mjs.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { admin, open, pictures, until, withBrowser } from './pages.mjs';

const { key, outages: [was, is] } = JSON.parse(process.env.HELIOGRAPH_NIGHT);
/** To the second, as pages of UTC have it, with or without the day. */
const second = (moment) => moment.slice(11, 19);

test('a night is read by the keyboard alone', { timeout: 90_000 }, () => withBrowser(async (browser) => {
    const page = await open(browser, { timezoneId: 'UTC' });
    const { keyboard } = page;
    /** Goes on by Tab to what has this text. */
    async function goTo(selector, text) {
        for (let place = 0; place < 200; place += 1) {
            await keyboard.press('Tab');
            const here = page.locator(`${selector}:focus`);
            if (await here.count() === 1 && text.test(await here.textContent())) return;
        }
        assert.fail(`not by 200 times Tab: ${selector} ${text}`);
    }

    /** Pictures of a state at both widths, light and dark, which people look at. */
    async function picture(name) {
        for (const width of pictures ? [390, 1280] : []) {
            await page.setViewportSize({ width, height: 900 });
            for (const colorScheme of ['light', 'dark']) {
                await page.evaluate((theme) => document.documentElement.setAttribute('data-theme', theme), colorScheme);
                await page.screenshot({ path: join(pictures, `night-${name}-${width}-${colorScheme}.png`), fullPage: true });
            }
        }
    }

    // Thirty cameras are one row with their key, since the second at which it began.
    await page.goto(admin);
    const row = page.locator('.problem', { hasText: `Key ${key}: unknown key` });
    await row.getByText('30 channels').waitFor();
    assert.equal(await row.count(), 1);
    assert.match(await row.locator('.when').textContent(), new RegExp(`^since (.* )?${second(is.first)}`));
    await goTo('.problem summary', /unknown key/);
    await keyboard.press('Enter');
    await row.getByText(`30 of 30 have key ${key}`).waitFor();
    await until('its members', async () => await row.locator('tbody tr').count() === 30);
    await picture('causes');

    // One camera: three keys.
    await keyboard.press('/');
    for (const one of ['s', '3', 'Enter']) await keyboard.press(one);
    await page.locator('.refusal', { hasText: 'url_expired' }).waitFor();
    await picture('camera');

    // Last night: the outage before, when it began, and that it ended; and this one, which goes on.
    await goTo('nav a', /^History$/);
    await keyboard.press('Enter');
    await page.locator('h1', { hasText: 'History' }).waitFor();
    const outages = page.locator('.spans button', { hasText: `Key ${key}` });
    await until('both outages', async () => await outages.count() === 2);
    const says = await outages.allTextContents();
    for (const [one, end] of [[was, ` to .*${second(was.ended)}$`], [is, ', goes on$']]) {
        assert.equal(says.filter((text) => new RegExp(`: .*${second(one.first)}${end}`).test(text)).length, 1, says.join('\n'));
    }

    // Its moment lists the cause, and its end; what changed before is the mark of the file.
    await goTo('.spans button', new RegExp(`${second(was.first)} to `));
    await keyboard.press('Enter');
    const moment = page.locator('section', { has: page.locator('h2', { hasText: /^At / }) });
    await moment.locator('.problem', { hasText: 'unknown key' }).getByText(new RegExp(`ended .*${second(was.ended)}`)).waitFor();
    await page.waitForURL((url) => url.hash.includes('at='));
    assert.equal(await page.getByText('undefined').count(), 0);
    await picture('history');
    const clock = async (mark) => /\d\d:\d\d:\d\d/.exec(await mark.textContent())[0];
    const before = await page.locator('.marks button', { hasText: /credentials/ }).all();
    assert.equal(before.length, 3);
    assert.ok(await clock(before[0]) <= second(was.first) && second(was.first) <= await clock(before[1]), 'the file changed before');
    await goTo('.marks button', /credentials/);
    await keyboard.press('Enter');
    await page.locator('h2', { hasText: await clock(before[0]) }).waitFor();
    await page.innocent();
}));
