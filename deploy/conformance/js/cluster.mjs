// Two nodes with a fixed map (HELIOGRAPH_NODES, their base URLs): calls, masters and viewers through either, whichever
// owns the channel.

import test from 'node:test';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { KinesisVideo, Peer, Role, region, signaling, tests } from './broker.mjs';

const timeout = 60_000;
const nodes = process.env.HELIOGRAPH_NODES.split(' ');
const offer = { type: 'offer', sdp: 'v=0\r\no=offer' };
const answer = { type: 'answer', sdp: 'v=0\r\no=answer' };
const candidate = (n) => ({ candidate: `candidate:${n}`, sdpMid: '0', sdpMLineIndex: 0 });
const control = (endpoint) => new KinesisVideo({ region, credentials: tests, endpoint, maxAttempts: 1 });

async function connect(node, channelARN, role, clientId) {
    const channelEndpoint = node.replace('https:', 'wss:');
    const peer = new Peer({ channelARN, role, clientId, channelEndpoint });
    await peer.open();
    return peer;
}

test('offer, answer and candidates between nodes', { timeout }, async () => {
    // About half of them belong to each node: that all belong to one, and the other's link is not used, is rare enough.
    for (let n = 0; n < 16; n += 1) {
        const [here, there] = n % 2 ? nodes : [...nodes].reverse();
        const { ChannelARN } = await control(here).createSignalingChannel({ ChannelName: `cluster-${randomUUID()}` });
        const master = await connect(here, ChannelARN, Role.MASTER);
        const viewer = await connect(there, ChannelARN, Role.VIEWER, 'viewer-1');
        viewer.client.sendSdpOffer(offer);
        assert.deepEqual(await master.next('sdpOffer'), [offer, 'viewer-1']);
        master.client.sendSdpAnswer(answer, 'viewer-1');
        assert.deepEqual(await viewer.next('sdpAnswer'), [answer, undefined]);
        for (let m = 0; m < 10; m += 1) {
            master.client.sendIceCandidate(candidate(m), 'viewer-1');
            viewer.client.sendIceCandidate(candidate(m));
        }
        for (let m = 0; m < 10; m += 1) {
            assert.deepEqual(await viewer.next('iceCandidate'), [candidate(m), undefined]);
            assert.deepEqual(await master.next('iceCandidate'), [candidate(m), 'viewer-1']);
        }
        await viewer.nothing();
        await master.nothing();
        await Promise.all([master.close(), viewer.close()]);
    }
});

test('a session by discovery through any node', { timeout }, async () => {
    for (const node of nodes) {
        const client = control(node);
        const { ChannelARN } = await client.createSignalingChannel({ ChannelName: `cluster-${randomUUID()}` });
        for (const other of nodes) {
            const { ChannelInfo } = await control(other).describeSignalingChannel({ ChannelARN });
            assert.equal(ChannelInfo.ChannelARN, ChannelARN);
        }
        const peers = [];
        for (const [role, clientId] of [[Role.MASTER, undefined], [Role.VIEWER, 'v1']]) {
            const { ResourceEndpointList } = await client.getSignalingChannelEndpoint({
                ChannelARN,
                SingleMasterChannelEndpointConfiguration: { Protocols: ['WSS', 'HTTPS'], Role: role },
            });
            const at = Object.fromEntries(ResourceEndpointList.map((entry) => [entry.Protocol, entry.ResourceEndpoint]));
            const { IceServerList } = await signaling(at.HTTPS).getIceServerConfig({ ChannelARN, ClientId: clientId });
            assert.ok(IceServerList.length > 0);
            const peer = new Peer({ channelARN: ChannelARN, role, clientId, channelEndpoint: at.WSS });
            await peer.open();
            peers.push(peer);
        }
        const [master, viewer] = peers;
        viewer.client.sendSdpOffer(offer);
        assert.deepEqual(await master.next('sdpOffer'), [offer, 'v1']);
        await client.deleteSignalingChannel({ ChannelARN });
        for (const other of nodes) {
            const gone = await control(other).describeSignalingChannel({ ChannelARN }).catch((error) => error);
            assert.equal(gone.name, 'ResourceNotFoundException');
        }
        await Promise.all(peers.map((peer) => peer.next('close')));
    }
});
