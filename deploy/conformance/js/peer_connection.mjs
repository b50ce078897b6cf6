// One real WebRTC session through the broker: the JavaScript SDK signals, werift makes the peer connection, and a data channel
// carries a message each way.

import test from 'node:test';
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { Peer, Role, newChannel, require } from './broker.mjs';

const { RTCPeerConnection } = require('werift');
const timeout = 60_000;

test('a data channel between master and viewer', { timeout }, async () => {
    const started = Date.now();
    const arn = await newChannel();
    const master = await Peer.connect(arn, Role.MASTER);
    const viewer = await Peer.connect(arn, Role.VIEWER, 'viewer-1');
    const stun = await stunServer();
    // Loopback is offered although it leads nowhere: the machine may have no other interface.
    const configuration = {
        iceServers: [{ urls: `stun:127.0.0.1:${stun.address().port}` }],
        iceAdditionalHostAddresses: ['127.0.0.1'],
        iceUseIpv6: false,
    };
    const camera = new RTCPeerConnection(configuration);
    const screen = new RTCPeerConnection(configuration);

    trickle(camera, (candidate) => master.client.sendIceCandidate(candidate, 'viewer-1'));
    trickle(screen, (candidate) => viewer.client.sendIceCandidate(candidate));
    // The SDK raises candidates only behind the description that they belong to; that one takes its time to be set.
    let described;
    master.client.on('sdpOffer', async (offer, sender) => {
        described = camera.setRemoteDescription(offer);
        await described;
        await camera.setLocalDescription(await camera.createAnswer());
        master.client.sendSdpAnswer(camera.localDescription, sender);
    });
    let answered;
    viewer.client.on('sdpAnswer', (answer) => {
        answered = screen.setRemoteDescription(answer);
    });
    master.client.on('iceCandidate', (candidate) => described.then(() => camera.addIceCandidate(candidate)));
    viewer.client.on('iceCandidate', (candidate) => answered.then(() => screen.addIceCandidate(candidate)));

    camera.onDataChannel.subscribe((channel) => {
        channel.onMessage.subscribe((text) => channel.send(`heard ${text}`));
    });
    const channel = screen.createDataChannel('words');
    const heard = new Promise((resolve) => channel.onMessage.subscribe(resolve));
    channel.stateChanged.subscribe((state) => state === 'open' && channel.send('hello'));
    await screen.setLocalDescription(await screen.createOffer());
    viewer.client.sendSdpOffer(screen.localDescription);

    assert.equal(String(await heard), 'heard hello');
    console.log(`data channel after ${Date.now() - started} ms`);
    await Promise.all([camera.close(), screen.close()]);
    stun.close();
    await Promise.all([master.close(), viewer.close()]);
});

function trickle(connection, send) {
    connection.onIceCandidate.subscribe((candidate) => candidate && send(candidate.toJSON()));
}

// Returns the address of the caller (RFC 8489 section 14.2). Without a STUN server of its own werift asks one on the internet
// and waits five seconds where there is none.
async function stunServer() {
    const socket = createSocket('udp4');
    socket.on('message', (request, { address, port }) => {
        const answer = Buffer.alloc(32);
        answer.writeUInt16BE(0x0101, 0); // binding success
        answer.writeUInt16BE(12, 2); // bytes behind the header
        request.copy(answer, 4, 4, 20); // magic cookie and transaction id
        answer.writeUInt16BE(0x0020, 20); // XOR-MAPPED-ADDRESS
        answer.writeUInt16BE(8, 22);
        answer.writeUInt8(1, 25); // IPv4
        answer.writeUInt16BE(port ^ request.readUInt16BE(4), 26);
        address.split('.').forEach((part, n) => answer.writeUInt8(Number(part) ^ request[4 + n], 28 + n));
        socket.send(answer, port, address);
    });
    await new Promise((resolve) => socket.bind(0, '127.0.0.1', resolve));
    return socket;
}
