// The page /try of a broker that checks signatures, over TLS: with the admin token it gets keys for one channel and role at a time.
// HELIOGRAPH_TOKEN is that token.

import test from 'node:test';
import assert from 'node:assert/strict';
import { control, newChannel } from '../js/broker.mjs';
import { withBrowser } from './browser.mjs';
import { chats, seesBars, state, useTestCard, visit } from './visitor.mjs';

const timeout = 90_000;
const admin = process.env.HELIOGRAPH_ADMIN;
const token = process.env.HELIOGRAPH_TOKEN;

test('a page with sessions of its own', { timeout }, async ({ signal }) => {
    const ChannelARN = await newChannel();
    const { ChannelInfo } = await control().describeSignalingChannel({ ChannelARN });
    await withBrowser(signal, async (_, browser) => {
        const page = await visit(browser, `${admin}/try`, { ready: '#login:not([hidden])' });
        assert.equal(await page.isDisabled('#both'), true);
        await page.fill('#token', token);
        await page.click('#login button');
        await page.waitForSelector('body[data-ready=yes]');
        await useTestCard(page);
        await page.fill('#channel', ChannelInfo.ChannelName);
        await page.click('#both');
        await seesBars(page);
        await chats(page, page);
        const asked = (it) => it.evaluate(() => performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/try/session')).length);
        assert.equal(await asked(page), 2);
        // A connection that comes back uses the session that it has.
        await page.click('[data-of=viewer] .drop');
        await state(page, 'viewer', 'dropped');
        await page.click('[data-of=viewer] .drop');
        await state(page, 'viewer', 'ready');
        assert.equal(await asked(page), 2);
        await page.finish();

        // A link may bring the token, which does not stay in the address; a channel that is absent is said to be.
        const other = await visit(browser, `${admin}/try#token=${token}&channel=absent`);
        assert.equal(new URL(other.url()).hash, '#channel=absent');
        await other.click('[data-of=viewer] .run');
        await state(other, 'viewer', 'failed');
        assert.match(await other.innerText('#viewer .problem'), /there is no such channel/);
        assert.equal(await asked(other), 1);
        await other.finish(/status of 404/);
    });
});
