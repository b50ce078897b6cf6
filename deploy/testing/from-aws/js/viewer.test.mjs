import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import { KinesisVideo } from '@aws-sdk/client-kinesis-video';
import { start } from '@heliograph/testing';
import { Viewer, signaling } from './viewer.mjs';

const SECOND = 'answer to offer 2 of phone';

const heliograph = await start();
const { faults } = heliograph;
after(() => heliograph.stop());
afterEach(() => heliograph.reset());

async function channel(broker = heliograph) {
    const ChannelName = broker.channel('porch');
    await new KinesisVideo({}).createSignalingChannel({ ChannelName });
    return ChannelName;
}

// A viewer with short waits, which ends with the test.
function view(t, name, options) {
    const viewer = new Viewer(name, 'phone', { pauseMs: 10, answerWithinMs: 300, ...options });
    t.after(() => viewer.stop());
    return viewer;
}

// The same, and the other side: a camera that answers every offer.
async function pair(t, options) {
    const name = await channel();
    const { client } = await signaling('MASTER', name);
    client.on('error', () => {});
    client.on('sdpOffer', ({ sdp }, id) => client.sendSdpAnswer({ type: 'answer', sdp: `answer to ${sdp}` }, id));
    client.open();
    t.after(() => client.close());
    await heliograph.connections('porch', { role: 'master' }).wait(1);
    return view(t, name, options);
}

// The answers that the camera has sent.
const answers = (count) => heliograph.messages('porch', { action: 'SDP_ANSWER' }).wait(count);

// Waits for what only the app knows; what the service knows is waited for there.
async function until(met) {
    const end = Date.now() + 5_000 * Number(process.env.HELIOGRAPH_WAIT || 1);
    while (!met()) {
        assert.ok(Date.now() < end, 'not within 5s');
        await new Promise((resolve) => setTimeout(resolve, 5));
    }
}

test('an offer gets its answer', async (t) => {
    const viewer = await pair(t);
    await until(() => viewer.answers.length > 0);
    assert.deepEqual(viewer.answers, ['answer to offer 1 of phone']);
    await heliograph.parity.assertNone();
});

test('a line that is cut is opened again', async (t) => {
    const viewer = await pair(t);
    await answers(1);
    await faults.reset({ on: 'session', role: 'viewer' });
    await until(() => viewer.answers.includes(SECOND));
});

test('a line that is cut with its offer is opened again', async (t) => {
    const cut = await faults.reset({ on: 'message', action: 'SDP_OFFER' });
    const viewer = await pair(t);
    await until(() => viewer.answers.includes(SECOND));
    assert.equal(await cut.hits(), 1);
});

test('an answer that is lost is asked for again', async (t) => {
    const lost = await faults.drop({ on: 'delivery', action: 'SDP_ANSWER' });
    const viewer = await pair(t);
    await until(() => viewer.answers.length > 0);
    assert.deepEqual([viewer.answers[0], await lost.hits()], [SECOND, 1]);
});

test('an answer that cannot be read is asked for again', async (t) => {
    await faults.corrupt('payload', { action: 'SDP_ANSWER' });
    await faults.corrupt('message', { action: 'SDP_ANSWER' });
    const viewer = await pair(t);
    await until(() => viewer.answers.length > 0);
    assert.equal(viewer.answers[0], 'answer to offer 3 of phone');
});

test('what the service refuses for a moment is tried again', async (t) => {
    const name = await channel();
    const made = [
        await faults.throttle({ operation: 'DescribeSignalingChannel' }),
        await faults.refuse('InternalFailure', { operation: 'GetIceServerConfig' }),
        await faults.throttle({ on: 'connect', role: 'viewer' }),
        await faults.refuse({ status: 503, on: 'connect', role: 'viewer' }),
    ];
    const viewer = view(t, name);
    await until(() => viewer.offers > 0);
    assert.deepEqual(await Promise.all(made.map((fault) => fault.hits())), [1, 1, 1, 1]);
});

test('the hour after which the service closes', async (t) => {
    const viewer = await pair(t);
    await answers(1);
    await heliograph.clock.advance('61m');
    await heliograph.connections('porch', { role: 'viewer' }).wait(1);
    await until(() => viewer.offers >= 2);
});

test('ICE servers are fetched when the service says so', async (t) => {
    const viewer = await pair(t);
    await answers(1);
    await faults.reconnectIce({ role: 'viewer' });
    await until(() => viewer.answers.includes(SECOND));
    assert.equal(viewer.iceFetches, 2);
});

test('ICE servers are fetched before they expire', async (t) => {
    const viewer = await pair(t, { iceMarginMs: 299_800 });
    await until(() => viewer.iceFetches >= 3 && viewer.answers.length >= 3);
    assert.equal((await heliograph.connections('porch', { role: 'viewer' }).now()).length, 1);
});

test('a key that is wrong ends the viewer with the reason', async (t) => {
    const signed = await start({ auth: 'sigv4' });
    t.after(() => signed.stop());
    t.after(() => heliograph.use());
    const name = await channel(signed);
    process.env.AWS_SECRET_ACCESS_KEY = 'of-somebody-else';
    const viewer = view(t, name);
    await until(() => viewer.refused !== null);
    assert.deepEqual([viewer.refused, viewer.offers], ['InvalidSignatureException', 0]);
});
