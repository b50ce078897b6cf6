// The official JavaScript SDK as master and viewers, over wss with its own signer: offer, answer, candidates both ways, status
// responses, takeover, reconnects.

import test from 'node:test';
import assert from 'node:assert/strict';
import { Peer, Role, control, endpoints, iceServers, newChannel, region, require, tests } from './broker.mjs';

const timeout = 60_000;
const offer = { type: 'offer', sdp: 'v=0\r\no=offer' };
const answer = { type: 'answer', sdp: 'v=0\r\no=answer' };
const candidate = (n) => ({ candidate: `candidate:${n}`, sdpMid: '0', sdpMLineIndex: 0 });

test('discovery', { timeout }, async () => {
    const arn = await newChannel();
    const { ChannelInfo } = await control().describeSignalingChannel({ ChannelARN: arn });
    assert.equal(ChannelInfo.ChannelStatus, 'ACTIVE');
    assert.ok(Math.abs(Date.now() - ChannelInfo.CreationTime.getTime()) < 60_000, `${ChannelInfo.CreationTime}`);
    const at = new URL(process.env.HELIOGRAPH_HTTPS).host;
    for (const role of [Role.MASTER, Role.VIEWER]) {
        const WSS = `wss://${at}${role === Role.MASTER ? '/master' : ''}`;
        assert.deepEqual(await endpoints(arn, role), { WSS, HTTPS: `https://${at}` });
    }
    const [server] = await iceServers(arn, `https://${at}`);
    assert.ok(server.Uris.length > 0 && server.Username.includes(':') && server.Password && server.Ttl > 30);
    await control().deleteSignalingChannel({ ChannelARN: arn });
    const gone = await control().describeSignalingChannel({ ChannelARN: arn }).catch((error) => error);
    assert.equal(gone.name, 'ResourceNotFoundException');
    assert.equal(gone.$metadata.httpStatusCode, 404);
    assert.ok(gone.message.length > 0 && gone.message !== 'UnknownError');
});

test('offer, answer, candidates both ways', { timeout }, async () => {
    const arn = await newChannel();
    const master = await Peer.connect(arn, Role.MASTER);
    const viewer = await Peer.connect(arn, Role.VIEWER, 'viewer-1.A_b');
    const other = await Peer.connect(arn, Role.VIEWER, 'viewer-2');
    viewer.client.sendSdpOffer(offer);
    viewer.client.sendIceCandidate(candidate(1));
    assert.deepEqual(await master.next('sdpOffer'), [offer, 'viewer-1.A_b']);
    assert.deepEqual(await master.next('iceCandidate'), [candidate(1), 'viewer-1.A_b']);
    master.client.sendSdpAnswer(answer, 'viewer-1.A_b', 'corr-2');
    for (let n = 0; n < 30; n += 1) {
        master.client.sendIceCandidate(candidate(n), 'viewer-1.A_b');
        viewer.client.sendIceCandidate(candidate(n));
    }
    assert.deepEqual(await viewer.next('sdpAnswer'), [answer, undefined]);
    for (let n = 0; n < 30; n += 1) {
        assert.deepEqual(await viewer.next('iceCandidate'), [candidate(n), undefined]);
        assert.deepEqual(await master.next('iceCandidate'), [candidate(n), 'viewer-1.A_b']);
    }
    await other.nothing();
    await viewer.nothing();
    await master.nothing();
    await Promise.all([master.close(), viewer.close(), other.close()]);
});

test('status responses', { timeout }, async () => {
    const arn = await newChannel();
    const master = await Peer.connect(arn, Role.MASTER);
    master.client.sendSdpOffer(offer, 'viewer-1', 'corr.1');
    const [refused] = await master.next('statusResponse');
    assert.deepEqual(refused, {
        correlationId: 'corr.1',
        errorType: 'InvalidArgumentException',
        statusCode: '400',
        description: 'A master cannot send an SDP offer.',
    });
    master.client.sendSdpAnswer({ type: 'answer', sdp: 'x'.repeat(40_000) }, 'viewer-1', 'corr.2');
    const [long] = await master.next('statusResponse');
    assert.equal(long.description, 'messagePayload must be 1 to 32768 base64 characters.');
    master.client.sendSdpAnswer(answer, 'viewer-1', 'corr.3');
    await master.nothing();
    await master.close();
});

test('takeover', { timeout }, async () => {
    const arn = await newChannel();
    const older = await Peer.connect(arn, Role.MASTER);
    const viewer = await Peer.connect(arn, Role.VIEWER, 'v1');
    const newer = await Peer.connect(arn, Role.MASTER);
    viewer.client.sendSdpOffer(offer);
    assert.deepEqual(await newer.next('sdpOffer'), [offer, 'v1']);
    await older.nothing();
    older.client.sendSdpAnswer(answer, 'v1');
    assert.deepEqual(await viewer.next('sdpAnswer'), [answer, undefined]);
    const again = await Peer.connect(arn, Role.VIEWER, 'v1');
    newer.client.sendSdpAnswer(answer, 'v1');
    assert.deepEqual(await again.next('sdpAnswer'), [answer, undefined]);
    await viewer.nothing();
    await Promise.all([older.close(), newer.close(), viewer.close(), again.close()]);
});

test('reconnect, and what waited meanwhile', { timeout }, async () => {
    const arn = await newChannel();
    const master = await Peer.connect(arn, Role.MASTER);
    const viewer = await Peer.connect(arn, Role.VIEWER, 'v1');
    for (let n = 0; n < 3; n += 1) {
        await master.close();
        viewer.client.sendSdpOffer({ type: 'offer', sdp: `${n}` });
        viewer.client.sendIceCandidate(candidate(n));
        await viewer.nothing();
        await master.open();
        assert.deepEqual(await master.next('sdpOffer'), [{ type: 'offer', sdp: `${n}` }, 'v1']);
        assert.deepEqual(await master.next('iceCandidate'), [candidate(n), 'v1']);
        await viewer.close();
        master.client.sendSdpAnswer({ type: 'answer', sdp: `${n}` }, 'v1');
        await master.nothing();
        await viewer.open();
        assert.deepEqual(await viewer.next('sdpAnswer'), [{ type: 'answer', sdp: `${n}` }, undefined]);
    }
    await Promise.all([master.close(), viewer.close()]);
});

test('a channel that is deleted closes its clients', { timeout }, async () => {
    const arn = await newChannel();
    const master = await Peer.connect(arn, Role.MASTER);
    const viewer = await Peer.connect(arn, Role.VIEWER, 'v1');
    await control().deleteSignalingChannel({ ChannelARN: arn });
    await Promise.all([master.next('close'), viewer.next('close')]);
});
