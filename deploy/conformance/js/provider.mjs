// A provider of npm's oidc-provider, over TLS. It prints its issuer; for each line on stdin it prints one: `token` has it
// issue an access token as a JWT to its own client, `rotate` signs with another key from there on.

import { generateKeyPairSync, webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import https from 'node:https';
import path from 'node:path';
import { createInterface } from 'node:readline';

// It would print advice for production.
console.info = () => {};
console.warn = () => {};

// Debian's node 18 has neither of these, and no `require` of a package that has modules alone.
globalThis.crypto ??= webcrypto;
URL.parse ??= (text, base) => (URL.canParse(text, base) ? new URL(text, base) : null);
const require = createRequire(path.join(process.env.HELIOGRAPH_CLIENTS, 'js', 'package.json'));
const { Provider } = await import(require.resolve('oidc-provider'));

const cert = readFileSync(process.env.CERT);
const audience = 'urn:home-app';
const client = { client_id: 'camera-app', client_secret: 'a-secret-of-tests', grant_types: ['client_credentials'] };
let answer = null;
const server = https.createServer({ cert, key: readFileSync(process.env.KEY) }, (request, response) => answer(request, response));
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const issuer = `https://127.0.0.1:${server.address().port}`;

function begin(kid) {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const provider = new Provider(issuer, {
        clients: [{ ...client, redirect_uris: [], response_types: [], id_token_signed_response_alg: 'ES256' }],
        jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'ES256' }] },
        ttl: { ClientCredentials: 600 },
        features: {
            clientCredentials: { enabled: true },
            devInteractions: { enabled: false },
            resourceIndicators: {
                enabled: true,
                getResourceServerInfo: () => ({
                    audience,
                    scope: 'watch',
                    accessTokenFormat: 'jwt',
                    accessTokenTTL: 600,
                    jwt: { sign: { alg: 'ES256' } },
                }),
            },
        },
    });
    answer = provider.callback();
}

async function token() {
    const basic = Buffer.from(`${client.client_id}:${client.client_secret}`).toString('base64');
    const form = new URLSearchParams({ grant_type: 'client_credentials', resource: audience, scope: 'watch' });
    const headers = { authorization: `Basic ${basic}`, 'content-type': 'application/x-www-form-urlencoded' };
    const body = await new Promise((done, failed) => {
        const request = https.request(`${issuer}/token`, { method: 'POST', headers, ca: readFileSync(process.env.CA) }, (response) => {
            let text = '';
            response.on('data', (part) => (text += part)).on('end', () => done(text));
        });
        request.on('error', failed).end(form.toString());
    });
    return JSON.parse(body).access_token ?? body;
}

let keys = 1;
begin('key-1');
console.log(issuer);
for await (const line of createInterface({ input: process.stdin })) {
    if (line === 'rotate') {
        begin(`key-${++keys}`);
        console.log('rotated');
    } else {
        console.log(await token());
    }
}
server.closeAllConnections();
server.close();
