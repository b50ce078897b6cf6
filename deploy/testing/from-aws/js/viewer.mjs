// A viewer of a camera on KVS signaling: it connects again, offers again, and keeps its ICE servers fresh.
//
// Nothing here knows of a test: the AWS SDK finds the service by the environment.

import { createRequire } from 'node:module';
import { KinesisVideo } from '@aws-sdk/client-kinesis-video';
import { KinesisVideoSignaling } from '@aws-sdk/client-kinesis-video-signaling';
import KVSWebRTC from 'amazon-kinesis-video-streams-webrtc';

globalThis.WebSocket ??= createRequire(import.meta.url)('ws'); // a dependency of the SDK; node 22 has its own

// What another attempt does not change.
const FINAL = ['AccessDeniedException', 'InvalidSignatureException', 'ResourceNotFoundException'];

export class Viewer {
    constructor(channelName, clientId, { pauseMs = 1_000, answerWithinMs = 10_000, iceMarginMs = 60_000 } = {}) {
        Object.assign(this, { channelName, clientId, pauseMs, answerWithinMs, iceMarginMs });
        Object.assign(this, { offers: 0, answers: [], iceFetches: 0, refused: null, stopped: false, timers: {} });
        this.connect(pauseMs);
    }

    stop() {
        this.stopped = true;
        this.forget('pause', 'answer', 'ice');
        this.client?.close();
    }

    // Connects until something refuses it for good, with longer pauses while no answer comes.
    async connect(pauseMs) {
        const answered = this.answers.length;
        const again = () => {
            this.forget('answer', 'ice');
            const next = this.answers.length > answered ? this.pauseMs : Math.min(2 * pauseMs, 30_000);
            if (!this.stopped) this.later('pause', next * (0.5 + Math.random() / 2), () => this.connect(next));
        };
        try {
            const { client, channelARN } = await signaling('VIEWER', this.channelName, this.clientId);
            if (this.stopped) return;
            this.client = client;
            client.on('error', () => {}); // 'close' follows
            client.on('close', again);
            client.on('open', () => this.serve(channelARN).catch(() => client.close()));
            client.on('sdpAnswer', ({ sdp }) => {
                this.answers.push(sdp);
                this.forget('answer');
            });
            client.open();
        } catch (error) {
            if (FINAL.includes(error.name)) this.refused = error.name;
            else again();
        }
    }

    async serve(channelARN) {
        // The SDK has no event for these two: they are read from its WebSocket.
        this.client.websocket.addEventListener('message', ({ data }) => {
            if (/"GO_AWAY"/.test(data)) this.client.close();
            if (/"RECONNECT_ICE_SERVER"/.test(data)) this.refresh(channelARN);
        });
        await this.fetchIce(channelARN);
        this.offer();
    }

    offer() {
        this.offers += 1;
        this.client.sendSdpOffer({ type: 'offer', sdp: `offer ${this.offers} of ${this.clientId}` });
        this.later('answer', this.answerWithinMs, () => this.offer());
    }

    async refresh(channelARN) {
        await this.fetchIce(channelARN).then(() => this.offer()).catch(() => this.client.close());
    }

    // Gets ICE servers, and again before they expire.
    async fetchIce(channelARN) {
        const endpoint = await endpointOf(channelARN, 'HTTPS', 'VIEWER');
        const service = new KinesisVideoSignaling({ endpoint });
        const { IceServerList } = await service.getIceServerConfig({ ChannelARN: channelARN, ClientId: this.clientId });
        this.iceFetches += 1;
        const ttlMs = 1_000 * Math.min(300, ...IceServerList.map(({ Ttl }) => Ttl));
        this.later('ice', ttlMs - this.iceMarginMs, () => this.refresh(channelARN));
    }

    later(name, ms, act) {
        this.forget(name);
        this.timers[name] = setTimeout(act, ms);
    }

    forget(...names) {
        for (const name of names) clearTimeout(this.timers[name]);
    }
}

// A client of the SDK for a channel, which is yet to open, and the channel's ARN.
export async function signaling(role, ChannelName, clientId) {
    const kinesis = new KinesisVideo({});
    const { ChannelInfo } = await kinesis.describeSignalingChannel({ ChannelName });
    const channelARN = ChannelInfo.ChannelARN;
    const channelEndpoint = await endpointOf(channelARN, 'WSS', role);
    const [region, credentials] = await Promise.all([kinesis.config.region(), kinesis.config.credentials()]);
    const { systemClockOffset } = kinesis.config; // by which the AWS SDK has found this clock to be wrong
    const peer = { role: KVSWebRTC.Role[role], clientId };
    const options = { channelARN, channelEndpoint, region, credentials, systemClockOffset, ...peer };
    return { client: new KVSWebRTC.SignalingClient(options), channelARN };
}

async function endpointOf(ChannelARN, protocol, Role) {
    const { ResourceEndpointList } = await new KinesisVideo({}).getSignalingChannelEndpoint({
        ChannelARN,
        SingleMasterChannelEndpointConfiguration: { Protocols: [protocol], Role },
    });
    return ResourceEndpointList[0].ResourceEndpoint;
}
