// The console where people sign in with accounts. The Rust test sets:
//
// HELIOGRAPH_ADMIN         the listener by a name of loopback that is not the provider's
// HELIOGRAPH_PROVIDER      the issuer, without https://; its page sends everybody back at once
// HELIOGRAPH_WHO           welcome: the account is let in; stranger: it is not
// HELIOGRAPH_SCREENSHOTS   directory for pictures

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { withBrowser } from '../browser.mjs';

const timeout = 60_000;
const { HELIOGRAPH_ADMIN: admin, HELIOGRAPH_PROVIDER: provider, HELIOGRAPH_WHO: who, HELIOGRAPH_SCREENSHOTS: pictures } = process.env;

// A page that notes what breaks its policy. The provider's certificate is of an authority that nobody knows.
async function open(browser) {
    const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 } });
    await context.addInitScript(() => {
        window.violations = [];
        addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => window.violations.push(`${violatedDirective} ${blockedURI}`));
    });
    const page = await context.newPage();
    page.setDefaultTimeout(30_000);
    return page;
}

async function picture(page, name) {
    await mkdir(pictures, { recursive: true });
    await page.screenshot({ path: join(pictures, `account-${name}.png`) });
}

const link = (page) => page.getByRole('link', { name: `Sign in with ${provider}` });
const out = (page) => page.getByRole('button', { name: 'Sign out' });

test('an account signs in, changes something, and signs out', { timeout, skip: who !== 'welcome' }, ({ signal }) => withBrowser(signal, async (_, browser) => {
    const page = await open(browser);
    await page.goto(`${admin}/#/channels`);
    await link(page).waitFor();
    await picture(page, 'asked');
    assert.equal(await page.getByLabel('Token of this broker').isVisible(), true);
    await link(page).click();
    await page.locator('#status', { hasText: /^(ok|\d+ problems?)$/ }).waitFor();
    assert.equal(page.url(), `${admin}/#/channels`, 'where somebody was before');
    await out(page).waitFor();
    assert.match(await out(page).getAttribute('title'), /^ada@example\.com at /);
    await picture(page, 'signed-in');

    // Pages see no cookie, and the browser has one that only comes from here.
    assert.equal(await page.evaluate(() => document.cookie), '');
    const cookies = await page.context().cookies();
    assert.deepEqual(cookies.map(({ name, httpOnly, sameSite }) => [name.replace(/\d+$/, 'PORT'), httpOnly, sameSite]), [
        ['heliograph-session-PORT', true, 'Strict'],
    ]);
    const reconnect = () => page.evaluate(async () => (await fetch('/ice/reconnect', { method: 'POST' })).status);
    assert.equal(await reconnect(), 200);
    await page.reload();
    await page.locator('#status', { hasText: /^(ok|\d+ problems?)$/ }).waitFor();

    // The page that tries the broker takes the account as well, and asks for no token.
    await page.goto(`${admin}/try`);
    await page.waitForSelector('body[data-ready=yes]');
    assert.equal(await page.isVisible('#login'), false);
    const session = await page.evaluate(async () => {
        const body = JSON.stringify({ channel: 'none-such', role: 'viewer', clientId: 'v1' });
        const answer = await fetch('/try/session', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
        return [answer.status, (await answer.json()).error];
    });
    assert.deepEqual(session, [404, 'there is no such channel: create it with CreateSignalingChannel first']);
    await page.goto(`${admin}/#/channels`);

    await out(page).click();
    await link(page).waitFor();
    assert.equal(await out(page).isVisible(), false);
    assert.equal(await reconnect(), 401);
    assert.deepEqual(await page.context().cookies(), []);
    assert.deepEqual(await page.evaluate(() => window.violations), []);
}));

test('an account that is not let in learns which and what is wanted', { timeout, skip: who !== 'stranger' }, ({ signal }) => withBrowser(signal, async (_, browser) => {
    const page = await open(browser);
    await page.goto(`${admin}/`);
    await link(page).click();
    await page.getByRole('heading', { name: 'Not signed in' }).waitFor();
    for (const text of [provider, '<b>eve</b>', 'groups = operators']) await page.getByText(text, { exact: true }).waitFor();
    await picture(page, 'refused');
    await page.getByRole('link', { name: 'Back to the console' }).click();
    await link(page).waitFor();
    assert.deepEqual(await page.context().cookies(), []);
    assert.deepEqual(await page.evaluate(() => window.violations), []);
}));
