// Chromium or Firefox, and the pages that it opens. The Rust test that runs these scripts sets the environment:
//
// HELIOGRAPH_HTTPS     base URL of the TLS listener, if there is one (NODE_EXTRA_CA_CERTS names the authority of its certificate)
// HELIOGRAPH_CLIENTS   directory with js/node_modules and browser/node_modules, as deploy/ci/check.sh installs them
// and, if wanted, HELIOGRAPH_ICE_TRANSPORT, HELIOGRAPH_CHROMIUM, and HELIOGRAPH_FIREFOX: the program of the one that is wanted instead

import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { region, tests } from '../js/broker.mjs';

// The packages live under target/, outside the tree that holds these scripts.
const clients = process.env.HELIOGRAPH_CLIENTS;
const require = createRequire(`${clients}/browser/package.json`);
const sdks = `${clients}/js/node_modules`;
const { chromium, firefox } = require('playwright-core');
const esbuild = require('esbuild');

const endpoint = process.env.HELIOGRAPH_HTTPS;
const other = process.env.HELIOGRAPH_FIREFOX;
const milliseconds = 50_000; // how long anything in a page may take

export const settings = {
    region,
    credentials: tests,
    endpoint,
    frames: 15,
    bytes: 60_000,
    iceTransportPolicy: process.env.HELIOGRAPH_ICE_TRANSPORT ?? 'all', // 'relay': media goes through the TURN server or nowhere
};

// Starts Chromium and the server of its pages, hands `work` a way to open pages and the browser, and ends both whatever happens. `signal` is that
// of the test: when its time is over the browser goes, and whatever waits for a page fails. Without `loopback` media has no way there, as in
// browsers of people. With `camera` it has a camera that shows a test picture, and asks nobody. `prepare` gets the home directory of the browser before it starts.
export async function withBrowser(signal, work, { loopback = true, camera = false, prepare = async () => {} } = {}) {
    const pages = await pageServer();
    const home = await mkdtemp(join(tmpdir(), 'heliograph-'));
    try {
        await prepare(home);
        const env = { ...process.env, HOME: home, TMPDIR: home, XDG_CONFIG_HOME: home }; // or it leaves crash reports behind
        const browser = other ? await launchFirefox(env, loopback, camera) : await launchChromium(env, loopback, camera);
        signal.addEventListener('abort', () => browser.close());
        try {
            await work((name) => openPage(browser, pages.url, name), browser);
        } catch (error) {
            await shown(browser).catch(() => undefined);
            throw error;
        } finally {
            await browser.close();
        }
    } finally {
        pages.close();
        await rm(home, { recursive: true, force: true });
    }
}

// With no sandbox, which root has none of in a container.
async function launchChromium(env, loopback, camera) {
    return chromium.launch({
        executablePath: process.env.HELIOGRAPH_CHROMIUM ?? '/usr/bin/chromium',
        timeout: milliseconds,
        env,
        args: [
            '--no-sandbox',
            '--disable-dev-shm-usage',
            // Trusts the key that node has found good under the authority of the development certificate, and no other.
            ...(endpoint ? [`--ignore-certificate-errors-spki-list=${await keyOfCertificate()}`] : []),
            // Pages without a camera hide their addresses behind multicast DNS, which a test machine may not have.
            '--disable-features=WebRtcHideLocalIpsWithMdns',
            ...(loopback ? ['--allow-loopback-in-peer-connection'] : []),
            ...(camera ? ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'] : []),
            '--autoplay-policy=no-user-gesture-required',
        ],
    });
}

// The same over WebDriver BiDi, which the Firefox of distributions speaks. It can be told no single key: its pages take any certificate.
function launchFirefox(env, loopback, camera) {
    return firefox.launch({
        channel: 'moz-firefox',
        executablePath: other,
        timeout: milliseconds,
        env,
        firefoxUserPrefs: {
            'media.peerconnection.ice.obfuscate_host_addresses': false,
            'media.peerconnection.ice.loopback': loopback,
            'media.autoplay.default': 0,
            'media.navigator.streams.fake': camera,
            'media.navigator.permission.disabled': camera,
        },
    });
}

// Prints what the pages show, for those who ask why a test failed.
async function shown(browser) {
    for (const page of browser.contexts().flatMap((context) => context.pages())) {
        console.log(`${page.url()} shows:\n${await page.innerText('body', { timeout: 1000 })}`);
    }
}

// A page of a browser profile of its own, as another person's. What it says goes to stdout.
async function openPage(browser, url, name) {
    const page = await (await browser.newContext({ ignoreHTTPSErrors: other !== undefined })).newPage();
    page.setDefaultTimeout(milliseconds);
    page.on('console', (message) => console.log(`${name}: ${message.text()}`));
    page.on('pageerror', (error) => console.log(`${name}: ${error.stack}`));
    await page.goto(url);
    await page.waitForFunction(() => window.peers !== undefined);
    return page;
}

// Serves the pages and the SDKs on loopback: an origin that is not the broker's, so that CORS is in the way as for a web site.
async function pageServer() {
    const file = (path) => readFile(new URL(path, import.meta.url));
    const files = {
        '/': ['text/html', await file('page.html')],
        '/player.html': ['text/html', await file('player.html')],
        '/peers.mjs': ['text/javascript', await file('peers.mjs')],
        '/kvs-webrtc.min.js': [
            'text/javascript',
            await readFile(`${sdks}/amazon-kinesis-video-streams-webrtc/dist/kvs-webrtc.min.js`),
        ],
        '/aws.js': ['text/javascript', await awsSdk()],
    };
    const server = createServer((request, response) => {
        const [type, body] = files[request.url] ?? [];
        response.writeHead(body ? 200 : 404, { 'Content-Type': `${type ?? 'text/plain'}; charset=utf-8` });
        response.end(body);
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    return {
        url: `http://127.0.0.1:${server.address().port}/`,
        close() {
            server.close();
            server.closeAllConnections?.();
        },
    };
}

// The AWS SDK ships no file for pages: everyone packs it, and so does this.
async function awsSdk() {
    const packed = await esbuild.build({
        stdin: {
            contents: `export { KinesisVideo } from '@aws-sdk/client-kinesis-video';
                export { KinesisVideoSignaling } from '@aws-sdk/client-kinesis-video-signaling';`,
            resolveDir: sdks,
        },
        nodePaths: [sdks],
        bundle: true,
        format: 'iife',
        globalName: 'AWS',
        platform: 'browser',
        logLevel: 'error',
        write: false,
    });
    return packed.outputFiles[0].contents;
}

// SHA-256 of the public key in the broker's certificate, which must be good: node refuses any other.
async function keyOfCertificate() {
    const { hostname, port } = new URL(endpoint);
    const socket = connect({ host: hostname, port, ALPNProtocols: ['http/1.1'] });
    await new Promise((resolve, reject) => {
        socket.once('secureConnect', resolve);
        socket.once('error', reject);
        socket.setTimeout(milliseconds, () => socket.destroy(new Error('no TLS handshake')));
    });
    const key = socket.getPeerX509Certificate().publicKey.export({ type: 'spki', format: 'der' });
    socket.destroy();
    return createHash('sha256').update(key).digest('base64');
}
