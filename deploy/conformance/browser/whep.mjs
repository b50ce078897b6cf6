// A page that knows no SDK, player.html, shows a camera by WHEP: the SDK's master in another page, or one that runs elsewhere. The Rust test
// sets HELIOGRAPH_CAMERA to the channel of such a master, HELIOGRAPH_ICE_TRANSPORT to `relay` for a player that offers no other candidates, and
// HELIOGRAPH_SIGNED where the URL must be signed.

import test from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { settings, withBrowser } from './browser.mjs';

const timeout = 60_000;
const elsewhere = process.env.HELIOGRAPH_CAMERA;
const channelName = elsewhere ?? `conformance-${randomUUID()}`;

test('a page without an SDK shows a camera', { timeout }, async ({ signal }) => {
    await withBrowser(signal, async (open) => {
        const player = await open('player');
        const camera = elsewhere ? undefined : await open('master');
        await camera?.evaluate((settings) => window.peers.master(settings), { ...settings, iceTransportPolicy: 'all', channelName });
        await player.goto(new URL('/player.html', player.url()).href);
        for (const clientId of ['wall-1', 'wall-1']) {
            const url = signed(clientId) ?? `${settings.endpoint}/whep/${channelName}`;
            const seen = await player.evaluate(watch, [url, settings.iceTransportPolicy, settings.frames]);
            console.log(`${clientId}: ${JSON.stringify(seen)}`);
            assert.ok(seen.frames >= settings.frames && seen.width > 0, JSON.stringify(seen));
            assert.equal(seen.candidateType === 'relay', settings.iceTransportPolicy === 'relay', seen.candidateType);
        }
        if (camera) {
            // Each player is a viewer of its own, although the client id is the same.
            const { viewers } = await camera.evaluate(() => window.report());
            assert.equal(viewers.length, 2);
            const start = process.env.HELIOGRAPH_SIGNED ? 'wall-1-' : 'whep-';
            assert.ok(viewers.every((id) => id.startsWith(start) && id.length === start.length + 16), viewers);
            await camera.evaluate(() => window.leave());
        }
    });
});

// In the page: plays, and resolves when this many frames were shown.
async function watch([url, policy, wanted]) {
    const started = performance.now();
    const since = () => Math.round(performance.now() - started);
    const connection = await window.play(url, policy);
    const answered = since();
    const video = document.getElementById('screen');
    let frames = 0;
    let first;
    await new Promise((resolve, reject) => {
        const next = () => {
            first ??= since();
            frames += 1;
            return frames < wanted ? video.requestVideoFrameCallback(next) : resolve();
        };
        video.requestVideoFrameCallback(next);
        connection.onconnectionstatechange = () => connection.connectionState === 'failed' && reject(new Error('connection failed'));
    });
    const stats = [...(await connection.getStats()).values()];
    const pair = stats.find((entry) => entry.type === 'candidate-pair' && entry.nominated && entry.state === 'succeeded');
    const local = stats.find((entry) => entry.id === pair?.localCandidateId);
    connection.close();
    return { answered, first, frames, width: video.videoWidth, candidateType: local?.candidateType };
}

// What `heliograph presign --whep` prints, with the keys of the principal `tests`.
function signed(clientId) {
    if (!process.env.HELIOGRAPH_SIGNED) {
        return undefined;
    }
    const { accessKeyId, secretAccessKey } = settings.credentials;
    const keys = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_SESSION_TOKEN: '' };
    const words = ['presign', '--whep', channelName, '--client-id', clientId, '--endpoint', settings.endpoint, '--region', settings.region];
    return execFileSync(process.env.HELIOGRAPH_BROKER, [...words, '--for', '90d'], { env: keys }).toString().trim();
}
