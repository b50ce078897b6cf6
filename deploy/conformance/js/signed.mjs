// The official JavaScript SDK and the AWS SDK against a broker that checks signatures: wrong keys, and temporary keys for one
// channel and one client id.

import test from 'node:test';
import assert from 'node:assert/strict';
import { createPrivateKey, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Peer, Role, control, endpoints, iceServers, keysFor, keysOf, newChannel, tests } from './broker.mjs';

const timeout = 60_000;
const offer = { type: 'offer', sdp: 'v=0\r\no=offer' };
const wrong = { ...tests, secretAccessKey: 'another secret' };
const unknown = { ...tests, accessKeyId: 'AKIDNOBODY' };
const powerless = { accessKeyId: 'AKIDPOWERLESS', secretAccessKey: 'powerless-example-secret' };

test('wrong keys are named by the AWS SDK', { timeout }, async () => {
    const arn = await newChannel();
    for (const [credentials, name, status] of [
        [wrong, 'InvalidSignatureException', 403],
        [unknown, 'UnrecognizedClientException', 403],
        [powerless, 'AccessDeniedException', 401],
    ]) {
        const error = await control(credentials).describeSignalingChannel({ ChannelARN: arn }).catch((error) => error);
        assert.equal(error.name, name);
        assert.equal(error.$metadata.httpStatusCode, status);
        assert.ok(error.message.length > 0 && error.message !== 'UnknownError');
    }
});

test('wrong keys do not connect', { timeout }, async () => {
    const arn = await newChannel();
    for (const credentials of [wrong, unknown, powerless]) {
        for (const [role, clientId] of [[Role.MASTER], [Role.VIEWER, 'viewer-1']]) {
            await refused(arn, role, clientId, credentials);
        }
    }
});

test('temporary keys for one channel and one client id', { timeout }, async () => {
    const arn = await newChannel();
    const keys = await keysFor(arn, 'phone-1');
    const master = await Peer.connect(arn, Role.MASTER);
    const phone = await Peer.connect(arn, Role.VIEWER, 'phone-1', keys);
    phone.client.sendSdpOffer(offer);
    assert.deepEqual(await master.next('sdpOffer'), [offer, 'phone-1']);
    const { HTTPS } = await endpoints(arn, Role.VIEWER);
    assert.ok((await iceServers(arn, HTTPS, keys, 'phone-1')).length > 0);
    const error = await iceServers(arn, HTTPS, keys, 'phone-2').catch((error) => error);
    assert.equal(error.name, 'NotAuthorizedException');

    await refused(arn, Role.VIEWER, 'phone-2', keys);
    await refused(arn, Role.MASTER, undefined, keys);
    await refused(await newChannel(), Role.VIEWER, 'phone-1', keys);
    await refused(arn, Role.VIEWER, 'phone-1', { ...keys, sessionToken: undefined });
    await Promise.all([master.close(), phone.close()]);
});

test('a user of a provider watches their own channel', { timeout }, async () => {
    const arn = await newChannel();
    const keys = await keysOf(tokenOf(arn.split('/')[1]));
    const master = await Peer.connect(arn, Role.MASTER);
    const phone = await Peer.connect(arn, Role.VIEWER, 'phone-1', keys);
    phone.client.sendSdpOffer(offer);
    assert.deepEqual(await master.next('sdpOffer'), [offer, 'phone-1']);
    await refused(await newChannel(), Role.VIEWER, 'phone-1', keys);
    const error = await keysOf(`${tokenOf('anybody')}x`).catch((error) => error);
    assert.equal(error.name, 'InvalidIdentityTokenException');
    await Promise.all([master.close(), phone.close()]);
});

// The token of a user of credentials.toml's provider.
function tokenOf(sub) {
    const iat = Math.floor(Date.now() / 1000);
    const claims = { iss: 'https://id.example.com/home', sub, aud: 'home-app', iat, exp: iat + 600 };
    const parts = [{ alg: 'ES256', typ: 'JWT', kid: 'home-1' }, claims];
    const message = parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
    const key = createPrivateKey(readFileSync(new URL('../home.pem', import.meta.url)));
    const signature = sign('sha256', Buffer.from(message), { key, dsaEncoding: 'ieee-p1363' });
    return `${message}.${signature.toString('base64url')}`;
}

// The SDK under node says what `ws` says: the status alone.
async function refused(arn, role, clientId, credentials) {
    const told = await Peer.connect(arn, role, clientId, credentials).then(
        () => 'connected',
        (error) => error.message,
    );
    assert.match(told, /^error instead of open.*Unexpected server response: 403/s);
}
