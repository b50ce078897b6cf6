// A camera and a viewer that stay: each opens its SDK's client again when that is closed, as the SDK's documentation has
// it. The viewer sends an offer each half second, and each is answered. Says `> meeting` when an answer comes after a
// pause, and `> apart` when a client is closed; ends with its input.

import { Peer, Role, endpoints } from './broker.mjs';

const channelARN = process.env.HELIOGRAPH_CHANNEL;
const pause = 500;
let met = false;

function say(meets) {
    if (met !== meets) {
        met = meets;
        console.log(meets ? '> meeting' : '> apart');
    }
}

async function stay(role, clientId) {
    for (;;) {
        try {
            // As an application does: where to connect may change.
            const { WSS } = await endpoints(channelARN, role);
            const { client } = new Peer({ channelARN, role, clientId, channelEndpoint: WSS });
            await connected(client, role);
        } catch (error) {
            console.error(`${role}: ${error.name}: ${error.message}`);
        }
        say(false);
        await new Promise((resolve) => setTimeout(resolve, pause));
    }
}

// Until the client is closed, or fails.
function connected(client, role) {
    let timer;
    const ended = new Promise((resolve) => {
        client.on('close', resolve);
        client.on('error', resolve);
    });
    client.on('sdpOffer', ({ sdp }, viewer) => client.sendSdpAnswer({ type: 'answer', sdp }, viewer));
    client.on('sdpAnswer', () => say(true));
    client.on('open', () => {
        if (role === Role.VIEWER) {
            timer = setInterval(() => client.sendSdpOffer({ type: 'offer', sdp: 'v=0\r\no=offer' }), pause);
        }
    });
    client.open();
    return ended.finally(() => clearInterval(timer));
}

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
stay(Role.MASTER);
stay(Role.VIEWER, 'viewer-1');
