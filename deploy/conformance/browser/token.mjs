// The pages of a broker whose admin listener wants a token: the console and /try ask for it, once for a tab.
// HELIOGRAPH_TOKEN is that token.

import test from 'node:test';
import assert from 'node:assert/strict';
import { withBrowser } from './browser.mjs';
import { visit } from './visitor.mjs';

const timeout = 60_000;
const admin = process.env.HELIOGRAPH_ADMIN;
const token = process.env.HELIOGRAPH_TOKEN;

test('the console and /try ask for the token, which is kept for the tab', { timeout }, ({ signal }) => withBrowser(signal, async (_, browser) => {
    const page = await visit(browser, `${admin}/`, { ready: '#token' });
    await page.getByLabel('Token of this broker').fill('not the token at all');
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByText('This token is not valid for this broker.').waitFor();
    await page.getByLabel('Token of this broker').fill(token);
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.locator('#status', { hasText: /^(ok|\d+ problems?)$/ }).waitFor();
    assert.deepEqual(await page.evaluate(() => window.violations), []);
    await page.reload();
    await page.locator('#status', { hasText: /^(ok|\d+ problems?)$/ }).waitFor();
    assert.deepEqual(await page.context().cookies(), []);
    // A token that was changed meanwhile: whichever page asks next.
    for (const place of ['#/channels', '#/why', '#/find/cam']) {
        await page.evaluate(() => sessionStorage.setItem('heliograph-token', 'the one before'));
        await page.goto(`${admin}/${place}`);
        await page.getByText('The token in this tab is not valid for this broker').waitFor();
        await page.getByLabel('Token of this broker').fill(token);
        await page.getByRole('button', { name: 'Continue' }).click();
        await page.locator('#status', { hasText: /^(ok|\d+ problems?)$/ }).waitFor();
    }
    // The tab has it, so the other page does not ask again.
    await page.goto(`${admin}/try`);
    await page.waitForSelector('body[data-ready=yes]');
    assert.equal(await page.isVisible('#login'), false);
    await page.finish(/status of 401/);

    const other = await visit(browser, `${admin}/#token=${encodeURIComponent(token)}`, { ready: '#status' });
    await other.locator('#status', { hasText: /^(ok|\d+ problems?)$/ }).waitFor();
    assert.ok(!other.url().includes('token'), other.url());
    await other.finish();

    const trial = await visit(browser, `${admin}/try`, { ready: '#login:not([hidden])' });
    await trial.fill('#token', 'not the token at all');
    await trial.click('#login button');
    await trial.locator('#login-problem', { hasText: 'missing or wrong' }).waitFor();
    await trial.fill('#token', token);
    await trial.click('#login button');
    await trial.waitForSelector('body[data-ready=yes]');
    assert.equal(await trial.isVisible('#login'), false);
    await trial.finish(/status of 401/);
}));

test('a tab without the token gets nothing of one that has it', { timeout }, ({ signal }) => withBrowser(signal, async (_, browser) => {
    const page = await visit(browser, `${admin}/#token=${encodeURIComponent(token)}`, { ready: '.foot:not(:empty)' });
    const other = await page.context().newPage();
    await other.goto(`${admin}/`);
    await other.locator('#token').waitFor();
    await page.waitForTimeout(3000); // some events of the first
    assert.equal(await other.locator('#status').textContent(), 'token wanted');
    await other.getByLabel('Token of this broker').fill(token);
    await other.getByRole('button', { name: 'Continue' }).click();
    await other.locator('#status', { hasText: /^(ok|\d+ problems?)$/ }).waitFor();
    const names = await other.evaluate(async () => (await navigator.locks.query()).held.map(({ name }) => name));
    assert.ok(names.length === 1 && !names[0].includes(token), names);
    await page.finish(/status of 401/);
}));
