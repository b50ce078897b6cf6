// Where the broker is, and clients for it. The Rust test that runs these scripts sets the environment:
//
// HELIOGRAPH_HTTPS     base URL of the TLS listener (NODE_EXTRA_CA_CERTS names the authority of its certificate)
// HELIOGRAPH_ADMIN     base URL of the admin listener
// HELIOGRAPH_CLIENTS   directory with js/node_modules, as deploy/ci/check.sh installs it

import { createRequire } from 'node:module';
import { randomUUID } from 'node:crypto';
import { afterEach } from 'node:test';

// The packages live under target/, outside the tree that holds these scripts.
export const require = createRequire(`${process.env.HELIOGRAPH_CLIENTS}/js/package.json`);

// The SDK looks for a global WebSocket, as in a browser; node 20 has none.
globalThis.WebSocket ??= require('ws');

const { KinesisVideo } = require('@aws-sdk/client-kinesis-video');
const { KinesisVideoSignaling } = require('@aws-sdk/client-kinesis-video-signaling');
const { STS } = require('@aws-sdk/client-sts');
const { SignalingClient, Role } = require('amazon-kinesis-video-streams-webrtc');

export { KinesisVideo, Role };

export const region = 'us-west-2';
// The principal `tests` of credentials.toml.
export const tests = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' };
const milliseconds = 15_000;

export function control(credentials = tests, maxAttempts = 1) {
    return new KinesisVideo({ region, credentials, endpoint: process.env.HELIOGRAPH_HTTPS, maxAttempts });
}

export function signaling(endpoint, credentials = tests) {
    return new KinesisVideoSignaling({ region, credentials, endpoint, maxAttempts: 1 });
}

export async function newChannel() {
    const { ChannelARN } = await control().createSignalingChannel({ ChannelName: `conformance-${randomUUID()}` });
    return ChannelARN;
}

// What an application does before it connects: endpoints by protocol.
export async function endpoints(channelARN, role) {
    const { ResourceEndpointList } = await control().getSignalingChannelEndpoint({
        ChannelARN: channelARN,
        SingleMasterChannelEndpointConfiguration: { Protocols: ['WSS', 'HTTPS'], Role: role },
    });
    return Object.fromEntries(ResourceEndpointList.map((entry) => [entry.Protocol, entry.ResourceEndpoint]));
}

export async function iceServers(channelARN, endpoint, credentials = tests, clientId = undefined) {
    const { IceServerList } = await signaling(endpoint, credentials).getIceServerConfig({ ChannelARN: channelARN, ClientId: clientId });
    return IceServerList;
}

// A test that failed leaves its peers open, and node would wait for them.
const peers = [];
afterEach(() => {
    for (const peer of peers.splice(0)) {
        peer.client.websocket?.terminate();
    }
});

// What an app does with the token of its user: keys by `AssumeRoleWithWebIdentity`, which is not signed.
export async function keysOf(WebIdentityToken) {
    const sts = new STS({ region, endpoint: process.env.HELIOGRAPH_HTTPS, maxAttempts: 1 });
    const RoleArn = 'arn:aws:iam::123456789012:role/watcher';
    const { Credentials } = await sts.assumeRoleWithWebIdentity({ RoleArn, RoleSessionName: 'app', WebIdentityToken });
    return {
        accessKeyId: Credentials.AccessKeyId,
        secretAccessKey: Credentials.SecretAccessKey,
        sessionToken: Credentials.SessionToken,
    };
}

// What a web back end does for a page: temporary keys by `GetFederationToken`, good for one channel and one client id on it.
export async function keysFor(channelARN, clientId) {
    const sts = new STS({ region, credentials: tests, endpoint: process.env.HELIOGRAPH_HTTPS, maxAttempts: 1 });
    const at = { Effect: 'Allow', Resource: channelARN };
    const Statement = [
        { ...at, Action: ['kinesisvideo:DescribeSignalingChannel', 'kinesisvideo:GetSignalingChannelEndpoint'] },
        {
            ...at,
            Action: ['kinesisvideo:ConnectAsViewer', 'kinesisvideo:GetIceServerConfig'],
            Condition: { StringEquals: { 'kinesisvideo:ClientId': clientId } },
        },
    ];
    const Policy = JSON.stringify({ Version: '2012-10-17', Statement });
    const { Credentials } = await sts.getFederationToken({ Name: clientId, Policy, DurationSeconds: 900 });
    return {
        accessKeyId: Credentials.AccessKeyId,
        secretAccessKey: Credentials.SecretAccessKey,
        sessionToken: Credentials.SessionToken,
    };
}

// The SDK's client with its own signer, and everything it raises in a queue.
export class Peer {
    constructor(config) {
        this.events = [];
        this.waiting = [];
        this.client = new SignalingClient({ region, credentials: tests, ...config });
        for (const name of ['open', 'close', 'error', 'sdpOffer', 'sdpAnswer', 'iceCandidate', 'statusResponse']) {
            this.client.on(name, (...values) => {
                this.events.push([name, ...values]);
                this.waiting.shift()?.();
            });
        }
        peers.push(this);
    }

    static async connect(channelARN, role, clientId, credentials = tests) {
        const { WSS } = await endpoints(channelARN, role);
        const peer = new Peer({ channelARN, role, clientId, channelEndpoint: WSS, credentials });
        await peer.open();
        return peer;
    }

    async open() {
        this.client.open();
        await this.next('open');
    }

    // Whatever else has come is dropped.
    async close() {
        this.client.close();
        while ((await this.event('close'))[0] !== 'close');
    }

    // The next event, which must have this name; its values.
    async next(name) {
        const [got, ...values] = await this.event(name);
        if (got !== name) {
            throw new Error(`${got} instead of ${name}: ${values.map((value) => value?.stack ?? value?.message ?? JSON.stringify(value))}`);
        }
        return values;
    }

    async event(awaited) {
        if (this.events.length === 0) {
            await new Promise((resolve, reject) => {
                const timer = setTimeout(() => reject(new Error(`no ${awaited} within ${milliseconds} ms`)), milliseconds);
                this.waiting.push(() => {
                    clearTimeout(timer);
                    resolve();
                });
            });
        }
        return this.events.shift();
    }

    // Nothing has come and nothing is on its way: the answer to a faulty message is the next event. (The SDK sends nothing
    // faulty as a viewer, so its socket is asked directly.)
    async nothing() {
        const correlationId = `nothing-${randomUUID()}`;
        this.client.websocket.send(JSON.stringify({ action: 'NONE', messagePayload: 'AAAA', correlationId }));
        const [status] = await this.next('statusResponse');
        if (status.correlationId !== correlationId) {
            throw new Error(`another status response: ${JSON.stringify(status)}`);
        }
    }
}
