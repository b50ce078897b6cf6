// AWS' sample page of the SDK for JavaScript, driven by its buttons: one page is the camera, another one the viewer, each with the picture of
// its browser's test camera. The page is in the SDK's repository and in no package: HELIOGRAPH_SAMPLE names the folder `examples` of a checkout.
// Everything else is of packages: the SDK itself, and jQuery, which the page loads from elsewhere, as it does Bootstrap, whose scripts it needs
// for looks alone.

import test from 'node:test';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { settings, withBrowser } from './browser.mjs';

const timeout = 90_000;
const sample = process.env.HELIOGRAPH_SAMPLE;
const packages = process.env.HELIOGRAPH_CLIENTS;
const bare = '$.fn.tooltip = $.fn.modal = $.fn.popover = function () { return this; };';
const jquery = `${packages}/browser/node_modules/jquery/dist/jquery.min.js`;
const sdk = `${packages}/js/node_modules/amazon-kinesis-video-streams-webrtc/dist/kvs-webrtc.min.js`;

test("AWS' sample page: video both ways", { timeout, skip: sample ? false : 'HELIOGRAPH_SAMPLE names no checkout' }, async ({ signal }) => {
    const server = createServer(serve).listen(0, '127.0.0.1');
    await once(server, 'listening');
    await withBrowser(
        signal,
        async (_, browser) => {
            const channel = `sample-${randomUUID()}`;
            const open = (clientId) => filled(browser, server.address().port, channel, clientId);
            const camera = await open('');
            await camera.click('#create-channel-button');
            await camera.waitForFunction(() => /Finished creating|SUCCESS|Channel ARN/i.test(document.body.innerText));
            await camera.click('#master-button');
            await camera.waitForFunction(() => /Connected to signaling service/i.test(document.body.innerText));
            const viewer = await open('visitor-1');
            await viewer.click('#viewer-button');
            for (const [page, place] of [[viewer, '#viewer .remote-view'], [camera, '#viewer-view-holder video']]) {
                await page.waitForFunction((place) => {
                    const video = document.querySelector(place);
                    return video?.videoWidth > 0 && video.currentTime > 1;
                }, place);
            }
            await viewer.click('#stop-viewer-button');
            await camera.click('#stop-master-button');
        },
        { camera: true },
    );
    server.close();
    server.closeAllConnections?.();
});

async function serve({ url }, response) {
    const name = url.split('/').pop();
    const types = { html: 'text/html', css: 'text/css', js: 'text/javascript' };
    const body = await readFile(name === 'kvs-webrtc.js' ? sdk : `${sample}/${name}`).catch(() => undefined);
    response.writeHead(body ? 200 : 404, { 'Content-Type': types[name.split('.').pop()] ?? 'text/plain' });
    response.end(body);
}

// The page, its form filled in.
async function filled(browser, port, channel, clientId) {
    const context = await browser.newContext({ ignoreHTTPSErrors: process.env.HELIOGRAPH_FIREFOX !== undefined });
    const page = await context.newPage();
    page.setDefaultTimeout(timeout / 3);
    page.on('pageerror', (error) => console.log(`${clientId || 'camera'}: ${error.stack}`));
    await page.route((url) => url.hostname !== '127.0.0.1', async (route) => {
        const url = route.request().url();
        const body = url.includes('jquery') ? await readFile(jquery) : url.includes('bootstrap.bundle') ? bare : '';
        await route.fulfill({ body, contentType: url.endsWith('.css') ? 'text/css' : 'text/javascript' });
    });
    await page.goto(`http://127.0.0.1:${port}/examples/index.html`);
    const { accessKeyId, secretAccessKey } = settings.credentials;
    const form = { region: settings.region, accessKeyId, secretAccessKey, endpoint: settings.endpoint, channelName: channel, clientId };
    await page.evaluate((form) => {
        for (const [id, value] of Object.entries(form)) {
            document.getElementById(id).value = value;
        }
        document.querySelectorAll('details').forEach((each) => (each.open = true));
        document.getElementById('sendVideo').checked = true;
    }, form);
    return page;
}
