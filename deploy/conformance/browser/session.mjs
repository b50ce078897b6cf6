// Two pages of headless Chromium, a camera and its viewer, with the official JavaScript SDK: discovery over CORS, offer, answer and
// candidates over wss with the SDK's own signatures, then a real peer connection with video and a data channel.

import test from 'node:test';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { settings, withBrowser } from './browser.mjs';

const timeout = 60_000;

test('video and a data channel between two pages', { timeout }, async ({ signal }) => {
    await withBrowser(signal, async (open) => {
        const started = Date.now();
        const channelName = `conformance-${randomUUID()}`;
        const [camera, phone] = await Promise.all([open('master'), open('viewer')]);
        await camera.evaluate((settings) => window.peers.master(settings), { ...settings, channelName });
        // The second has the same client id: a page that was reloaded, and a new offer from it.
        for (const clientId of ['phone-1', 'phone-1', 'tablet_2.A']) {
            const got = await phone.evaluate((settings) => window.peers.viewer(settings), { ...settings, channelName, clientId });
            console.log(`${clientId}: ${JSON.stringify(got)} after ${Date.now() - started} ms`);
            assert.equal(got.state, 'connected');
            assert.equal(got.candidateType === 'relay', settings.iceTransportPolicy === 'relay', got.candidateType);
            assert.deepEqual(got.echo, { text: 'hello, größe', bytes: settings.bytes, same: true });
            assert.ok(got.framesDecoded >= settings.frames, `${got.framesDecoded} frames decoded`);
            assert.ok(got.colours.alike && got.colours.width > 0, `not the picture of the master: ${JSON.stringify(got.colours)}`);
            await phone.evaluate(() => window.leave());
            await phone.reload();
            await phone.waitForFunction(() => window.peers !== undefined);
        }
        const { heard, viewers } = await camera.evaluate(() => window.report());
        assert.deepEqual(heard, ['hello, größe', settings.bytes, 'hello, größe', settings.bytes, 'hello, größe', settings.bytes]);
        assert.deepEqual(viewers, ['phone-1', 'tablet_2.A']);
        await camera.evaluate(() => window.leave());
    });
});
