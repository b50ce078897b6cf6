// What an application's pages do, as functions that the test calls in them: `master` answers each viewer with the picture of a
// canvas and echoes its data channel, `viewer` looks and talks. KVSWebRTC is the SDK as its package ships it for pages; AWS holds
// the two clients of the AWS SDK.

const { SignalingClient, Role } = window.KVSWebRTC;
const { KinesisVideo, KinesisVideoSignaling } = window.AWS;

// Halves of the picture: what a viewer must find again behind an encoder and a decoder.
const left = [220, 40, 40];
const right = [40, 60, 220];
const near = 60; // of 255, per colour: video is lossy

window.peers = { master, viewer, refusal };

// Connects as master; resolves once the channel is open to viewers. `report()` tells what has come since.
async function master(settings) {
    const { client, iceServers } = await connect(settings, Role.MASTER);
    const picture = paint(document.getElementById('picture'));
    const heard = [];
    const connections = new Map();
    client.on('sdpOffer', async (offer, viewer) => {
        const connection = peerConnection(settings, iceServers, (candidate) => client.sendIceCandidate(candidate, viewer));
        connections.get(viewer)?.close(); // a page that was reloaded
        connections.set(viewer, connection);
        connection.addTrack(picture.getVideoTracks()[0], picture);
        connection.ondatachannel = ({ channel }) => {
            channel.binaryType = 'arraybuffer';
            // What the viewer sends at once may come before this side of the channel is open.
            const open = channel.readyState === 'open' ? undefined : new Promise((resolve) => (channel.onopen = resolve));
            channel.onmessage = async ({ data }) => {
                heard.push(typeof data === 'string' ? data : data.byteLength);
                await open;
                channel.send(data);
            };
        };
        connection.described = connection.setRemoteDescription(offer);
        await connection.described;
        await connection.setLocalDescription(await connection.createAnswer());
        client.sendSdpAnswer(connection.localDescription, viewer);
    });
    client.on('iceCandidate', async (candidate, viewer) => {
        const connection = connections.get(viewer);
        await connection.described;
        await connection.addIceCandidate(candidate);
    });
    window.report = async () => ({ heard, viewers: [...connections.keys()], states: [...connections.values()].map((c) => c.connectionState) });
    window.leave = () => leave(client, [...connections.values()]);
}

// Connects as viewer, looks at some frames, sends text and bytes and waits for their echo.
async function viewer(settings) {
    const { client, iceServers } = await connect(settings, Role.VIEWER);
    const connection = peerConnection(settings, iceServers, (candidate) => client.sendIceCandidate(candidate));
    window.leave = () => leave(client, [connection]);
    const failed = new Promise((_, reject) => {
        connection.onconnectionstatechange = () => connection.connectionState === 'failed' && reject(new Error('connection failed'));
    });
    const seen = new Promise((resolve) => {
        connection.ontrack = ({ streams, track }) => resolve(look(streams[0] ?? new MediaStream([track]), settings.frames));
    });
    const channel = connection.createDataChannel('words');
    connection.addTransceiver('video', { direction: 'recvonly' });
    let described;
    client.on('sdpAnswer', (answer) => {
        described = connection.setRemoteDescription(answer);
    });
    client.on('iceCandidate', (candidate) => described.then(() => connection.addIceCandidate(candidate)));
    const echoed = talk(channel, settings.bytes);
    await connection.setLocalDescription(await connection.createOffer());
    client.sendSdpOffer(connection.localDescription);
    const [colours, echo] = await Promise.race([Promise.all([seen, echoed]), failed]);
    return { colours, echo, ...(await measured(connection)) };
}

// Connects with what the broker must refuse: all that a page learns of it.
async function refusal(settings) {
    const client = new SignalingClient({ ...settings, role: settings.clientId ? Role.VIEWER : Role.MASTER });
    const told = await new Promise((resolve) => {
        for (const name of ['open', 'error', 'close']) {
            client.on(name, () => resolve(name));
        }
        client.open();
    });
    client.close();
    return told;
}

// Discovery as the SDK's documentation has it: channel (made if it is absent), endpoints, ICE servers; then the WebSocket.
async function connect(settings, role) {
    const { region, credentials, clientId, channelName } = settings;
    const api = { region, credentials, maxAttempts: 1 };
    const control = new KinesisVideo({ ...api, endpoint: settings.endpoint });
    let described;
    try {
        described = await control.describeSignalingChannel({ ChannelName: channelName });
    } catch (error) {
        if (error.name !== 'ResourceNotFoundException' || role !== Role.MASTER) {
            throw error;
        }
        await control.createSignalingChannel({ ChannelName: channelName });
        described = await control.describeSignalingChannel({ ChannelName: channelName });
    }
    const { ChannelARN: channelARN } = described.ChannelInfo;
    const { ResourceEndpointList } = await control.getSignalingChannelEndpoint({
        ChannelARN: channelARN,
        SingleMasterChannelEndpointConfiguration: { Protocols: ['WSS', 'HTTPS'], Role: role },
    });
    const { WSS, HTTPS } = Object.fromEntries(ResourceEndpointList.map((entry) => [entry.Protocol, entry.ResourceEndpoint]));
    const signaling = new KinesisVideoSignaling({ ...api, endpoint: HTTPS });
    const { IceServerList } = await signaling.getIceServerConfig({ ChannelARN: channelARN, ClientId: clientId });
    const iceServers = IceServerList.map(({ Uris, Username, Password }) => ({ urls: Uris, username: Username, credential: Password }));
    const client = new SignalingClient({ channelARN, channelEndpoint: WSS, role, clientId, region, credentials });
    const opened = new Promise((resolve, reject) => {
        client.on('open', resolve);
        client.on('error', (error) => reject(new Error(`${role}: ${error?.message ?? 'the WebSocket failed'}`)));
        client.on('close', () => reject(new Error(`${role}: closed`)));
    });
    client.open();
    await opened;
    return { client, iceServers };
}

function peerConnection({ iceTransportPolicy }, iceServers, send) {
    const connection = new RTCPeerConnection({ iceServers, iceTransportPolicy });
    connection.onicecandidate = ({ candidate }) => candidate && send(candidate);
    return connection;
}

// Two halves in two colours, and a bar that moves, so that each frame differs from the one before.
function paint(canvas) {
    const context = canvas.getContext('2d');
    let frame = 0;
    setInterval(() => {
        const half = canvas.width / 2;
        context.fillStyle = `rgb(${left})`;
        context.fillRect(0, 0, half, canvas.height);
        context.fillStyle = `rgb(${right})`;
        context.fillRect(half, 0, half, canvas.height);
        context.fillStyle = 'white';
        context.fillRect(frame % canvas.width, canvas.height - 16, 24, 16);
        frame += 4;
    }, 40);
    return canvas.captureStream(25);
}

// Looks at this many frames; resolves with whether the last showed both halves of the master's picture.
function look(stream, frames) {
    const video = document.getElementById('screen');
    const canvas = document.createElement('canvas');
    const context = canvas.getContext('2d', { willReadFrequently: true });
    video.srcObject = stream;
    let presented = 0;
    return new Promise((resolve) => {
        const next = () => {
            presented += 1;
            if (presented < frames) {
                video.requestVideoFrameCallback(next);
                return;
            }
            [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
            context.drawImage(video, 0, 0);
            const at = (x) => context.getImageData(x * canvas.width, canvas.height / 4, 1, 1).data;
            const alike = (got, wanted) => wanted.every((value, n) => Math.abs(value - got[n]) < near);
            const [a, b] = [at(0.25), at(0.75)];
            resolve({ presented, width: canvas.width, alike: alike(a, left) && alike(b, right), got: [...a, ...b] });
        };
        video.requestVideoFrameCallback(next);
    });
}

// Sends a text and this many bytes; resolves with what came back.
function talk(channel, bytes) {
    const sent = Uint8Array.from({ length: bytes }, (_, n) => (n * 31) % 251);
    channel.binaryType = 'arraybuffer';
    channel.onopen = () => {
        channel.send('hello, größe');
        channel.send(sent);
    };
    const echo = [];
    return new Promise((resolve) => {
        channel.onmessage = ({ data }) => {
            echo.push(data);
            if (echo.length === 2) {
                const got = new Uint8Array(echo[1]);
                const same = got.length === sent.length && got.every((byte, n) => byte === sent[n]);
                resolve({ text: echo[0], bytes: got.length, same });
            }
        };
    });
}

async function measured(connection) {
    const stats = [...(await connection.getStats()).values()];
    const video = stats.find((entry) => entry.type === 'inbound-rtp' && entry.kind === 'video');
    const pair = stats.find((entry) => entry.type === 'candidate-pair' && entry.nominated && entry.state === 'succeeded');
    const local = stats.find((entry) => entry.id === pair?.localCandidateId);
    const { framesDecoded, framesReceived } = video ?? {};
    return { framesDecoded, framesReceived, candidateType: local?.candidateType, state: connection.connectionState };
}

async function leave(client, connections) {
    for (const connection of connections) {
        connection.close();
    }
    const closed = new Promise((resolve) => client.on('close', resolve));
    client.close();
    await closed;
}
