// A page with keys that a web back end gave it: here this script is the back end, and the broker checks signatures. The page may
// be one viewer of one channel, and nothing else.

import test from 'node:test';
import assert from 'node:assert/strict';
import { control, endpoints, keysFor, newChannel } from '../js/broker.mjs';
import { settings, withBrowser } from './browser.mjs';

const timeout = 60_000;

test('a page with temporary keys', { timeout }, async ({ signal }) => {
    const channelARN = await newChannel();
    const { ChannelInfo } = await control().describeSignalingChannel({ ChannelARN: channelARN });
    const channelName = ChannelInfo.ChannelName;
    const [{ WSS: channelEndpoint }, { WSS: camerasEndpoint }] = await Promise.all(
        ['VIEWER', 'MASTER'].map((role) => endpoints(channelARN, role)),
    );
    const credentials = await keysFor(channelARN, 'phone-1');
    await withBrowser(signal, async (open) => {
        const [camera, phone] = await Promise.all([open('master'), open('viewer')]);
        await camera.evaluate((settings) => window.peers.master(settings), { ...settings, channelName });

        const { region } = settings;
        const wrong = { ...settings.credentials, secretAccessKey: 'another secret' };
        // The first shows that it is the keys.
        for (const [expected, attempt] of [
            ['open', { credentials, clientId: 'phone-1' }],
            ['error', { credentials, clientId: 'phone-2' }],
            ['error', { credentials }], // a camera's connect
            ['error', { credentials, channelEndpoint: camerasEndpoint }],
            ['error', { credentials, clientId: 'phone-1', channelARN: await newChannel() }],
            ['error', { credentials: { ...credentials, sessionToken: undefined }, clientId: 'phone-1' }],
            ['error', { credentials: wrong, clientId: 'phone-1' }],
        ]) {
            // The page gets an event without a reason; the console shows the status.
            const status = 'Unexpected response code: 403';
            const logged = expected === 'open' || phone.waitForEvent('console', (message) => message.text().includes(status));
            const given = { region, channelARN, channelEndpoint, ...attempt };
            const [told] = await Promise.all([phone.evaluate((settings) => window.peers.refusal(settings), given), logged]);
            assert.equal(told, expected, JSON.stringify({ ...attempt, credentials: undefined }));
        }

        const viewer = { ...settings, channelName, credentials, clientId: 'phone-1' };
        const got = await phone.evaluate((settings) => window.peers.viewer(settings), viewer);
        assert.equal(got.echo.same, true);
        assert.ok(got.framesDecoded >= settings.frames && got.colours.alike, JSON.stringify(got));
        const { viewers } = await camera.evaluate(() => window.report());
        assert.deepEqual(viewers, ['phone-1']);
    });
});
