// The operator's pages while things go wrong: the search leads to the answer, refusals are counted by what was refused, and
// pages stay short. See pages.mjs for the environment.

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { admin, call, ended, enter, open, pictures, until, withBrowser } from './pages.mjs';

/** Types into the search box of the frame. */
async function search(page, text) {
    await page.keyboard.press('/');
    await page.keyboard.type(text);
    await page.keyboard.press('Enter');
}

const refuse = async (channel, times, from) => {
    for (let done = 0; done < times; done += 1) assert.equal(await call('describeSignalingChannel', channel, from), 404);
};
const group = (page, channel) => page.locator('.refusal', { has: page.locator('.who', { hasText: channel }) });

test('the search leads to a channel that was refused, to clients, and to checks', { timeout: 120_000 }, () => withBrowser(async (browser) => {
    await refuse('porch-gone', 37);
    const peers = [await enter('garage-1'), await enter('garage-1', 'phone-of-anna')];
    const page = await open(browser);
    await page.goto(admin);

    // A channel that does not exist has a page: what was refused, how often, when, and what to do.
    await search(page, 'porch-gone');
    await page.getByRole('heading', { name: 'porch-gone' }).waitFor();
    await page.locator('.notice', { hasText: 'There is no such channel' }).waitFor();
    const refused = group(page, 'porch-gone');
    await refused.getByText('channel_absent').waitFor();
    await refused.getByText('37 ×').waitFor();
    await refused.locator('summary').click();
    await refused.getByText('Create it (CreateSignalingChannel), or correct the name.').waitFor();
    await refused.getByText(/^37 refusals since \d\d:\d\d:\d\d\. The newest:$/).waitFor();

    // Parts of names, client ids of connected viewers, ids of checks.
    await search(page, 'ORCH-go');
    await page.getByRole('heading', { name: 'Find: ORCH-go' }).waitFor();
    await group(page, 'porch-gone').getByText('37 ×').waitFor();
    await search(page, 'arage');
    await page.getByRole('link', { name: 'garage-1' }).waitFor();
    await search(page, 'channel_abs');
    await group(page, 'porch-gone').waitFor();
    await search(page, 'phone-of-anna');
    await page.getByRole('cell', { name: 'viewer phone-of-anna' }).waitFor();
    await page.getByRole('link', { name: 'garage-1' }).click();
    await page.getByText('Only phone-of-anna is shown.').waitFor();
    await search(page, 'nothing has this');
    await page.getByText('Nothing found: no channel, viewer or refusal matches.').waitFor();
    await page.innocent();
    for (const peer of peers) { peer.close(); await ended(peer); }
}));

test('refusals are counted by channel, an opened one stays, and a pause holds them', { timeout: 120_000 }, () => withBrowser(async (browser) => {
    // A storm behind one address, and two others behind it that were refused once.
    await refuse('storm-a', 300, '127.50.0.1');
    for (const network of [51, 52, 53, 54]) await refuse('storm-a', 15, `127.${network}.0.1`);
    assert.equal(await call('describeSignalingChannel', 'no name!'), 400);
    const page = await open(browser);
    await page.goto(`${admin}/#/why`);
    await group(page, 'storm-a').getByText('360 ×').waitFor();
    const row = group(page, 'storm-a');
    await row.locator('summary').click();
    const rows = row.locator('.rows li');
    await row.getByRole('button', { name: 'More' }).click();
    await until('more than the first rows', async () => await rows.count() > 50);
    await row.getByText(/^\d+ of them are kept with their details\.$/).waitFor();

    // What comes meanwhile is below it.
    const top = async () => (await row.boundingBox()).y;
    const before = await top();
    await refuse('newer-b', 1, '127.60.0.1');
    await group(page, 'newer-b').waitFor();
    assert.equal(await top(), before);
    await row.locator('summary').first().click();
    await until('the newest first', async () => (await page.locator('.refusal .who').first().textContent()) === 'newer-b');

    await page.getByRole('button', { name: 'Pause' }).click();
    await refuse('newer-c', 1, '127.61.0.1');
    await page.waitForFunction(async () => (await (await fetch('/refusals/groups?channel=newer-c')).json()).groups.length === 1);
    await page.waitForTimeout(1500);
    assert.equal(await group(page, 'newer-c').count(), 0);
    await page.getByRole('button', { name: 'Resume' }).click();
    await group(page, 'newer-c').waitFor();

    await page.getByLabel('Check', { exact: true }).selectOption('channel_absent');
    const checks = async () => [...new Set(await page.locator('.refusal > summary > code').allTextContents())];
    await until('one check alone', async () => (await checks()).join() === 'channel_absent');
    await group(page, 'newer-c').waitFor();
    await page.getByLabel('Find', { exact: true }).fill('127.60.0');
    await page.getByRole('button', { name: 'Search' }).click();
    await until('this one alone', async () => await page.locator('.refusal').count() === 1);
    await group(page, 'newer-b').waitFor();
    await page.innocent();
}));

/** A device that fails in the TLS handshake: it speaks something else. */
const failHandshake = (localAddress) => new Promise((done) => {
    const { hostname, port } = new URL(process.env.HELIOGRAPH_HTTPS);
    const socket = connect({ host: hostname, port: Number(port), localAddress }, () => socket.write('\x16no handshake, though it begins like one'));
    socket.on('error', () => {});
    socket.on('close', done);
    socket.resume();
});

test('a device that fails in the handshake is found by its address, and from its channel', { timeout: 60_000 }, () => withBrowser(async (browser) => {
    for (const address of ['127.77.0.1', '127.77.0.2']) await failHandshake(address);
    const viewer = await enter('lonely', 'phone-1');
    const page = await open(browser);
    await page.goto(admin);
    // Both are one group: it is shown by the one that was asked for.
    for (const address of ['127.77.0.1', '127.77.0.2']) {
        await search(page, address);
        await page.locator('.refusal', { hasText: 'tls_broken' }).getByText(`from ${address}:`).waitFor();
    }
    await page.getByText(/^0 channels, \d problems?, 1 kind of refusal\.$/).waitFor();
    await search(page, 'lonely');
    await page.getByText('No refusals of this channel.').waitFor();
    await page.getByRole('link', { name: /^\d+ failed handshakes?$/ }).click();
    await page.locator('.refusal', { hasText: 'tls_broken' }).waitFor();
    await page.innocent();
    viewer.close();
    await ended(viewer);
}));

test('names of dots, and names that are none', { timeout: 60_000 }, () => withBrowser(async (browser) => {
    const peers = [await enter('.'), await enter('..')];
    const page = await open(browser);
    await page.goto(admin);
    for (const name of ['.', '..']) {
        await search(page, name);
        await page.getByRole('heading', { name, exact: true }).waitFor();
        await page.locator('dt', { hasText: 'Connected for' }).waitFor();
        await page.getByText(`channel/${name}/`).waitFor();
        await page.getByText(/^Camera 127\..* until now$/).waitFor();
    }
    for (const hash of ['#/channels/a%2Fb', '#/channels/a%2Cb', '#/channels/a%252Fb']) {
        await page.goto(`${admin}/${hash}`);
        await page.locator('.notice', { hasText: 'A channel has a name of 1 to 256 characters' }).waitFor();
        await page.locator('#status', { hasText: /^(ok|\d+ problems?)$/ }).waitFor();
    }
    await page.innocent();
    for (const peer of peers) { peer.close(); await ended(peer); }
}));

test('many channels are few clicks, and those in trouble are found', { timeout: 240_000 }, () => withBrowser(async (browser) => {
    const number = (place) => `fleet-${String(place).padStart(4, '0')}`;
    for (let from = 0; from < 1200; from += 50) {
        await Promise.all(Array.from({ length: 50 }, async (_, place) => {
            const peer = await enter(number(from + place));
            peer.close();
            await ended(peer);
        }));
    }
    const [master, alone] = [await enter('fleet-0007'), await enter('fleet-0042', 'phone-1')];
    const page = await open(browser);
    await page.goto(`${admin}/#/channels?contains=fleet`);
    const rows = page.locator('tbody tr');
    await page.getByText(/^100 shown of 1,2\d\d channels$/).waitFor();
    await page.getByRole('button', { name: 'More' }).click();
    await until('all of them', async () => { await page.mouse.wheel(0, 100_000); return await rows.count() === 1200; });
    await page.getByLabel('Name').fill('EET-004');
    await page.getByText(/^10 of 1,2\d\d channels$/).waitFor();
    await page.getByLabel('State').selectOption('waiting');
    await page.getByText(/^1 of 1,2\d\d channels$/).waitFor();
    await page.getByRole('link', { name: 'fleet-0042' }).waitFor();
    await page.getByLabel('Name').fill('fleet-0007');
    await page.getByLabel('State').selectOption('no_master');
    await page.getByText(/^No channel of 1,2\d\d matches\.$/).waitFor();
    await page.innocent();
    for (const peer of [master, alone]) { peer.close(); await ended(peer); }
}));

test('who is awaited is seen at once, and found among all channels', { timeout: 60_000 }, () => withBrowser(async (browser) => {
    const asleep = await enter('asleep-porch', 'phone-of-anna');
    const [there, other] = [await enter('asleep-door'), await enter('asleep-door', 'phone-of-ben')];
    const page = await open(browser);
    await page.goto(`${admin}/#/channels?contains=asleep`);
    const row = (name) => page.locator('tbody tr', { hasText: name });
    await row('asleep-porch').getByText('awaited').waitFor();
    await row('asleep-door').getByText('connected').waitFor();
    // At once: far sooner than the page looks at all of them again.
    const payload = Buffer.from(JSON.stringify({ type: 'offer', sdp: 'v=0\r\n' })).toString('base64');
    asleep.send(JSON.stringify({ action: 'SDP_OFFER', messagePayload: payload, recipientClientId: '' }));
    await until('one waits', async () => await row('asleep-porch').locator('td').nth(3).textContent() === '1');
    for (const colorScheme of pictures === undefined ? [] : ['light', 'dark']) {
        await page.evaluate((name) => document.documentElement.setAttribute('data-theme', name), colorScheme);
        await page.screenshot({ path: join(pictures, `awaited-${colorScheme}.png`) });
    }
    await page.getByLabel('State').selectOption('awaited');
    await until('it alone', async () => await page.locator('tbody tr').count() === 1);
    await page.getByRole('link', { name: 'asleep-porch' }).click();
    await page.getByRole('rowheader', { name: 'phone-of-anna' }).first().waitFor();
    await page.getByRole('region', { name: 'Viewers waiting for the camera' }).getByText(/^\d+ s$/).waitFor();
    if (pictures !== undefined) await page.screenshot({ path: join(pictures, 'awaited-channel.png') });
    await page.goBack();
    await page.getByRole('link', { name: 'asleep-porch' }).waitFor();
    const came = await enter('asleep-porch');
    await until('nobody is awaited', async () => await page.getByRole('link', { name: 'asleep-porch' }).count() === 0
        || await row('asleep-porch').getByText('connected').count() === 1);
    await page.innocent();
    for (const peer of [asleep, there, other, came]) { peer.close(); await ended(peer); }
}));

test('sessions in trouble are found, and the overview of a phone is three screens', { timeout: 120_000 }, () => withBrowser(async (browser) => {
    const payload = Buffer.from(JSON.stringify({ type: 'offer', sdp: 'v=0\r\n' })).toString('base64');
    for (let place = 0; place < 40; place += 1) {
        const viewer = await enter(`mute-${place % 20}`, `phone-${place}`);
        viewer.send(JSON.stringify({ action: 'SDP_OFFER', messagePayload: payload, recipientClientId: '' }));
        viewer.close();
        await ended(viewer);
    }
    for (const colorScheme of ['light', 'dark']) {
        const page = await open(browser, { viewport: { width: 420, height: 900 }, colorScheme });
        await page.goto(admin);
        await page.locator('.heat .cell').first().waitFor();
        const height = await page.evaluate(() => document.documentElement.scrollHeight);
        if (pictures !== undefined) await page.screenshot({ path: join(pictures, `troubled-420-${colorScheme}.png`), fullPage: true });
        assert.ok(height <= 2700, `${height} px`);
        // A viewer that has left is found by its client id.
        await search(page, 'hone-17');
        await page.locator('.trouble', { hasText: 'mute-17 / phone-17' }).getByText('unanswered').waitFor();
        await page.innocent();
    }
}));

test('a viewer that left has its hint, and one that never came is not connected', { timeout: 60_000 }, () => withBrowser(async (browser) => {
    const master = await enter('cam-hints');
    const viewer = await enter('cam-hints', 'short');
    viewer.close();
    await ended(viewer);
    const payload = Buffer.from(JSON.stringify({ candidate: '' })).toString('base64');
    master.send(JSON.stringify({ action: 'ICE_CANDIDATE', messagePayload: payload, recipientClientId: 'never-came' }));
    const page = await open(browser);
    await page.goto(`${admin}/#/channels/cam-hints`);
    const lane = (client) => page.locator('.lane', { hasText: client });
    await lane('short').getByText(/^the viewer left after .* and had sent no offer$/).waitFor();
    // What was refused may have been its offer: nothing says that it sent none.
    const long = await enter('cam-hints', 'long');
    long.send(JSON.stringify({ action: 'SDP_OFFER', messagePayload: 'x'.repeat(40_000), recipientClientId: '' }));
    await lane('long').getByText(/^1 message was not accepted: messagePayload of 40,000 characters; /).waitFor();
    long.close();
    await ended(long);
    await lane('long').locator('.head').getByText(/left: the client closed it$/).first().waitFor();
    assert.equal(await lane('long').locator('.hints li').count(), 1);
    await lane('never-came').getByText('not connected', { exact: true }).waitFor();
    await lane('never-came').getByText(/^no connection of this client id is known/).waitFor();
    await page.innocent();
    master.close();
    await ended(master);
}));

test('where there is no cluster, its page says so and asks once', { timeout: 60_000 }, () => withBrowser(async (browser) => {
    const page = await open(browser);
    let asked = 0;
    page.on('response', (response) => { asked += Number(response.url() === `${admin}/cluster`); });
    await page.clock.install();
    await page.goto(`${admin}/#/cluster`);
    await page.getByText('this node follows no etcd').waitFor();
    await page.clock.runFor(20_000);
    await page.evaluate(() => fetch('/live')); // behind whatever the page has asked
    assert.equal(asked, 1);
    await page.innocent();
}));
