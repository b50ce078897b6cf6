// Every fault as the official JavaScript SDK and the AWS SDK for JavaScript see it, over TLS with their own signers.

import test, { afterEach } from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Heliograph } from '../../testing/js/index.mjs';
import { Peer, Role, control, endpoints, require, signaling } from './broker.mjs';

const timeout = 60_000;
const heliograph = new Heliograph(process.env.HELIOGRAPH_ADMIN, {});
const { faults, clock } = heliograph;
afterEach(() => heliograph.reset());

const offer = (n) => ({ type: 'offer', sdp: `v=0 ${n}` });
const answer = (n) => ({ type: 'answer', sdp: `v=0 ${n}` });

async function channel() {
    const { ChannelARN } = await control().createSignalingChannel({ ChannelName: heliograph.channel('cam') });
    return ChannelARN;
}

async function pair() {
    const arn = await channel();
    const [master, viewer] = [await Peer.connect(arn, Role.MASTER), await Peer.connect(arn, Role.VIEWER, 'v1')];
    return { arn, master, viewer };
}

// The error that a call ends with.
async function error(call) {
    return call.then((answer) => assert.fail(JSON.stringify(answer)), (error) => error);
}

async function until(met) {
    while (!(await met()));
}

const acted = (fault) => until(async () => (await fault.hits()) === 1);

test('api: errors have the name, the status and the text', { timeout }, async () => {
    const arn = await channel();
    const describe = () => control().describeSignalingChannel({ ChannelARN: arn });
    const ice = () => signaling(process.env.HELIOGRAPH_HTTPS).getIceServerConfig({ ChannelARN: arn });
    for (const [call, name, status] of [
        [describe, 'AccessDeniedException', 401],
        [describe, 'ResourceNotFoundException', 404],
        [describe, 'ServiceUnavailable', 503],
        [ice, 'NotAuthorizedException', 401],
        [ice, 'SessionExpiredException', 400],
        [ice, 'InvalidClientException', 400],
        [ice, 'ClientLimitExceededException', 400],
    ]) {
        await faults.refuse(name, { message: 'Not today.' });
        const refused = await error(call());
        const { httpStatusCode } = refused.$metadata;
        assert.deepEqual([refused.name, httpStatusCode, refused.message], [name, status, 'Not today.']);
        const { check, errorType } = await heliograph.why(refused.$metadata.requestId);
        assert.deepEqual([check, errorType], ['fault_injected', name]);
    }
    await faults.throttle();
    const throttled = await error(describe());
    assert.deepEqual([throttled.name, throttled.message], ['ClientLimitExceededException', 'Rate exceeded.']);
    await describe();
    // Of the two, the SDK tries one again.
    const [once, twice] = [await faults.throttle({ times: 2 }), await faults.refuse('ThrottlingException', { times: 2 })];
    const tries = control(undefined, 3);
    await error(tries.describeSignalingChannel({ ChannelARN: arn }));
    assert.equal(await once.hits(), 1);
    await once.end();
    await tries.describeSignalingChannel({ ChannelARN: arn });
    assert.equal(await twice.hits(), 2);
});

test('api: delay, hang and reset', { timeout }, async () => {
    const arn = await channel();
    const describe = () => control().describeSignalingChannel({ ChannelARN: arn });
    const delay = await faults.delay('10m', { on: 'api' });
    const late = describe();
    await acted(delay);
    await clock.advance('601s');
    assert.equal((await late).ChannelInfo.ChannelARN, arn);

    const hang = await faults.hang();
    const stop = new AbortController();
    const hung = error(control().describeSignalingChannel({ ChannelARN: arn }, { abortSignal: stop.signal }));
    await acted(hang);
    await describe(); // a later call is answered, this one is not
    stop.abort();
    assert.equal((await hung).name, 'AbortError');

    await faults.reset();
    assert.equal((await error(describe())).code, 'ECONNRESET');
    // What the SDK tries again: a fault that acts twice leaves it its third attempt.
    const twice = await faults.reset({ times: 2 });
    await control(undefined, 3).describeSignalingChannel({ ChannelARN: arn });
    assert.equal(await twice.hits(), 2);
});

// The SDK has an error without a type: what `ws` makes of the status.
async function refused(arn, status) {
    const { WSS: channelEndpoint } = await endpoints(arn, Role.VIEWER);
    const peer = new Peer({ channelARN: arn, channelEndpoint, role: Role.VIEWER, clientId: 'v1' });
    peer.client.open();
    const [{ message }] = await peer.next('error');
    assert.equal(message, `Unexpected server response: ${status}`);
    await peer.next('close');
}

test('connect: refuse and throttle', { timeout }, async () => {
    const arn = await channel();
    for (const [name, status] of [
        ['AccessDeniedException', 403],
        ['ResourceNotFoundException', 404],
        ['InvalidSignatureException', 403],
        ['InternalFailure', 500],
    ]) {
        await faults.refuse(name, { on: 'connect', clientId: 'v?' });
        await refused(arn, status);
    }
    await faults.throttle({ on: 'connect' });
    await refused(arn, 400);

    // What a program sees that looks at the answer itself.
    const WebSocket = require('ws');
    await faults.refuse('AccessDeniedException', { on: 'connect', message: 'Not today.' });
    const { WSS } = await endpoints(arn, Role.MASTER);
    const [, response] = await once(new WebSocket(`${WSS}/?X-Amz-ChannelARN=${arn}`), 'unexpected-response');
    const body = JSON.parse((await response.toArray()).join(''));
    assert.deepEqual([response.statusCode, response.headers['x-amzn-errortype']], [403, 'AccessDeniedException']);
    assert.deepEqual(body, { message: 'Not today.' });
    assert.ok(response.headers['x-amzn-requestid'] && response.headers.date);
});

test('connect: delay, hang and reset', { timeout }, async () => {
    const arn = await channel();
    const { WSS: channelEndpoint } = await endpoints(arn, Role.MASTER);
    const master = () => new Peer({ channelARN: arn, channelEndpoint, role: Role.MASTER });
    const delay = await faults.delay('9m', { on: 'connect' });
    const late = master();
    late.client.open();
    await acted(delay);
    assert.deepEqual(late.events, []);
    await clock.advance('541s');
    await late.next('open');
    await late.close();

    const hang = await faults.hang({ on: 'connect' });
    const hung = master();
    hung.client.open();
    await acted(hang);
    assert.deepEqual(hung.events, []);
    hung.client.websocket.terminate();
    await hung.next('error');
    await hung.next('close');

    await faults.reset({ on: 'connect' });
    const reset = master();
    reset.client.open();
    const [{ error: cause }] = await reset.next('error');
    assert.equal(cause.code, 'ECONNRESET');
    await reset.next('close');
});

test('message: drop, expire, status and delay', { timeout }, async () => {
    const { arn, master, viewer } = await pair();
    for (const make of [faults.drop, faults.expire]) {
        await make.call(faults, { action: 'SDP_OFFER', role: 'viewer' });
        viewer.client.sendSdpOffer(offer(1), undefined, 'c0');
        await viewer.nothing();
        await master.nothing();
    }
    await faults.status('ClientLimitExceededException', { code: 400, description: 'Rate exceeded.' });
    viewer.client.sendSdpOffer(offer(2), undefined, 'c1');
    const status = { errorType: 'ClientLimitExceededException', statusCode: '400', description: 'Rate exceeded.' };
    assert.deepEqual(await viewer.next('statusResponse'), [{ correlationId: 'c1', ...status }]);
    await faults.status('InternalFailure', { code: 500, clientId: 'v1' });
    viewer.client.sendSdpOffer(offer(3)); // without a correlation id there is no answer
    await viewer.nothing();
    await faults.delay('50s', { on: 'message', clientId: 'v1' });
    viewer.client.sendSdpOffer(offer(4));
    await viewer.nothing();
    await master.nothing();
    await clock.advance('51s');
    assert.deepEqual(await master.next('sdpOffer'), [offer(4), 'v1']);

    // Expired while the master was away: it finds nothing when it is back.
    await master.close();
    await faults.expire({ action: 'SDP_OFFER' });
    viewer.client.sendSdpOffer(offer(5));
    const again = await Peer.connect(arn, Role.MASTER);
    await again.nothing();
    await Promise.all([again.close(), viewer.close()]);
});

test('delivery: drop, duplicate, reorder and delay', { timeout }, async () => {
    const { master, viewer } = await pair();
    const about = { role: 'viewer', clientId: 'v1' };
    const send = (n) => master.client.sendSdpAnswer(answer(n), 'v1');
    await faults.drop({ on: 'delivery', ...about });
    send(1);
    send(2);
    assert.deepEqual(await viewer.next('sdpAnswer'), [answer(2), undefined]);
    await faults.duplicate(about);
    send(3);
    for (const n of [3, 3]) assert.deepEqual(await viewer.next('sdpAnswer'), [answer(n), undefined]);
    await faults.reorder(about);
    send(4);
    send(5);
    for (const n of [5, 4]) assert.deepEqual(await viewer.next('sdpAnswer'), [answer(n), undefined]);
    await faults.delay('50s', { on: 'delivery', ...about });
    send(6);
    await master.nothing();
    await viewer.nothing();
    await clock.advance('51s');
    assert.deepEqual(await viewer.next('sdpAnswer'), [answer(6), undefined]);
    await Promise.all([master.close(), viewer.close()]);
});

test('session: close, goAway, reconnectIce and stall', { timeout }, async () => {
    const { master, viewer } = await pair();
    // The SDK passes neither the code of a close nor these two messages on: its WebSocket does.
    const closed = once(viewer.client.websocket, 'close');
    await faults.close(4001, { reason: 'as scripted', role: 'viewer' });
    const [code, reason] = await closed;
    assert.deepEqual([code, `${reason}`], [4001, 'as scripted']);
    await viewer.next('close');

    const frame = async () => `${(await once(master.client.websocket, 'message'))[0]}`;
    const reconnect = frame();
    await faults.reconnectIce({ role: 'master' });
    assert.equal(await reconnect, '{"messageType":"RECONNECT_ICE_SERVER"}');
    const empty = frame();
    await faults.send('empty', { role: 'master' });
    assert.equal(await empty, '');
    const goAway = frame();
    await faults.goAway('20s', { role: 'master' });
    assert.equal(await goAway, '{"messageType":"GO_AWAY"}');
    await master.nothing(); // it goes on, and the SDK raises no event
    const gone = once(master.client.websocket, 'close');
    await clock.advance('21s');
    assert.deepEqual((await gone).map(String), ['1001', 'Going away']);
    await master.next('close');

    await master.open();
    await viewer.open();
    await faults.stall('9m', { role: 'master' });
    let pongs = 0;
    master.client.websocket.on('pong', () => (pongs += 1));
    master.client.websocket.ping();
    viewer.client.sendSdpOffer(offer(1));
    await viewer.nothing();
    assert.deepEqual([master.events, pongs], [[], 0]);
    const pong = once(master.client.websocket, 'pong');
    await clock.advance('541s');
    assert.deepEqual(await master.next('sdpOffer'), [offer(1), 'v1']);
    await pong;
});

test('session: reset, and what a message sets off', { timeout }, async () => {
    const { arn, master, viewer } = await pair();
    // All that a program sees of it is the code of its WebSocket: the SDK passes nothing on.
    const ends = async (peer, begin) => {
        const closed = once(peer.client.websocket, 'close');
        await begin();
        const [code] = await closed;
        await peer.next('close');
        return code;
    };
    const quiet = (peer) => peer.client.on('error', () => {});
    [master, viewer].forEach(quiet);
    assert.equal(await ends(viewer, () => faults.reset({ on: 'session', role: 'viewer' })), 1006);

    // A viewer's line is cut with its offer, which arrives all the same.
    await viewer.open();
    await faults.reset({ on: 'message', action: 'SDP_OFFER' });
    assert.equal(await ends(viewer, () => viewer.client.sendSdpOffer(offer(1))), 1006);
    assert.deepEqual(await master.next('sdpOffer'), [offer(1), 'v1']);

    // The master's is closed in place of an offer, which it gets with its next connection.
    await viewer.open();
    await faults.close(1012, { on: 'delivery', role: 'master' });
    assert.equal(await ends(master, () => viewer.client.sendSdpOffer(offer(2))), 1012);
    const again = await Peer.connect(arn, Role.MASTER);
    assert.deepEqual(await again.next('sdpOffer'), [offer(2), 'v1']);
    await Promise.all([again.close(), viewer.close()]);
});

test('message: misdirect; delivery: corrupt', { timeout }, async () => {
    const { arn, master, viewer } = await pair();
    const other = await Peer.connect(arn, Role.VIEWER, 'v2');
    await faults.misdirect('v2', { role: 'master' });
    master.client.sendSdpAnswer(answer(1), 'v1');
    assert.deepEqual(await other.next('sdpAnswer'), [answer(1), undefined]);
    await faults.misdirect('v2', { role: 'viewer' });
    viewer.client.sendSdpOffer(offer(2));
    assert.deepEqual(await master.next('sdpOffer'), [offer(2), 'v2']);
    // The SDK drops what it cannot read, without an event: a corrupt message looks like a lost one.
    for (const part of ['payload', 'base64', 'message', undefined]) {
        const fault = await faults.corrupt(part, { role: 'viewer' });
        master.client.sendSdpAnswer(answer(3), 'v1');
        await acted(fault);
        await viewer.nothing();
    }
    master.client.sendSdpAnswer(answer(4), 'v1');
    assert.deepEqual(await viewer.next('sdpAnswer'), [answer(4), undefined]);
    await Promise.all([master.close(), viewer.close(), other.close()]);
});
