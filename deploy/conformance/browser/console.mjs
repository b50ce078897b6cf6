// The console in Chromium: it shows what happens, finds what is looked for, ends connections, and does nothing else:
// no violation of its content security policy, no error, no request to another origin.
//
// HELIOGRAPH_ADMIN        base URL of the admin listener
// HELIOGRAPH_SCREENSHOTS  a directory for pictures, if wanted

import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { admin, data, ended, enter, open, pictures, until, withBrowser } from './console/pages.mjs';

test('the console shows what happens', { timeout: 120_000 }, () => withBrowser(async (browser) => {
    const page = await open(browser);
    const peers = [await enter('cam-1'), await enter('cam-2'), await enter('door-1')];

    await page.goto(admin);
    await page.locator('#status', { hasText: /^(ok|\d+ problems?)$/ }).waitFor();
    await page.locator('.figure', { hasText: 'Connections' }).getByText('3', { exact: true }).waitFor();
    const loaded = await page.evaluate(() => performance.getEntries().reduce((sum, one) => sum + (one.name.includes('/assets/') || one.entryType === 'navigation' ? one.transferSize : 0), 0));
    assert.ok(loaded > 30_000 && loaded <= 120_000, `${loaded} bytes of the first load`);
    await page.locator('tbody tr').first().getByText('healthy').waitFor();
    assert.equal(await page.locator('.heat .cell').count(), 2);

    await page.getByRole('link', { name: 'Channels' }).click();
    await page.getByRole('link', { name: 'door-1' }).waitFor();
    await page.getByLabel('Name').fill('cam-');
    await page.getByRole('link', { name: 'door-1' }).waitFor({ state: 'detached' });
    assert.equal(await page.locator('tbody tr').count(), 2);

    // A viewer that joins appears within two seconds, and one that leaves goes.
    await page.getByRole('link', { name: 'cam-1' }).click();
    await page.getByRole('heading', { name: 'cam-1' }).waitFor();
    await page.getByText('No viewer is connected.').waitFor();
    const began = Date.now();
    const viewer = await enter('cam-1', 'phone-3');
    await page.getByRole('rowheader', { name: 'phone-3' }).waitFor();
    assert.ok(Date.now() - began < 2500, `the viewer appeared after ${Date.now() - began} ms`);

    // An operator who types the channel's name may end its connections.
    await page.getByRole('button', { name: 'Disconnect phone-3' }).click();
    const go = page.locator('dialog').getByRole('button', { name: 'Disconnect' });
    assert.ok(await go.isDisabled());
    await page.getByLabel('Type the name of the channel').fill('cam-1');
    await go.click();
    await page.getByText('1 closed.').waitFor();
    await ended(viewer);
    await page.getByText('No viewer is connected.').waitFor();

    // The key for the search, from anywhere; what is no channel is looked for among refusals.
    await page.locator('dialog').waitFor({ state: 'hidden' });
    await page.keyboard.press('/');
    await page.keyboard.type('door-1');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'door-1' }).waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('00000000-0000-0000-0000-000000000000');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Why was a request refused?' }).waitFor();
    await page.getByText('not an id of this broker').waitFor();

    await page.getByRole('link', { name: 'Log' }).click();
    await page.locator('.log li', { hasText: 'reason=operator' }).waitFor();
    await page.getByPlaceholder('contains').fill('nothing has this');
    await page.getByText(/^0 lines, of \d+ that are kept$/).waitFor();

    // Forward and back, and a channel that does not exist.
    await page.goto(`${admin}/#/channels/absent`);
    await page.locator('.notice', { hasText: 'There is no such channel' }).waitFor();
    assert.equal(await page.getByRole('button', { name: 'Copy ARN' }).count(), 0);
    assert.doesNotMatch(await page.innerText('main'), /see \/channels/);
    await page.goBack();
    await page.getByRole('heading', { name: 'Log' }).waitFor();
    await page.innocent();
    for (const peer of peers) { peer.close(); await ended(peer); }
}));

test('names with markup are text', { timeout: 60_000 }, () => withBrowser(async (browser) => {
    const page = await open(browser);
    const markup = '<img src=x onerror=alert(1)>';
    for (const place of ['#/channels?contains=', '#/why/', '#/find/', '#/channels/', '#/']) {
        await page.goto(`${admin}/${place}${encodeURIComponent(markup)}`);
        await page.waitForTimeout(300);
        assert.equal(await page.locator('main img').count(), 0);
    }
    await page.innocent();
}));

test('numbers, times, links and events are read as people expect', { timeout: 60_000 }, () => withBrowser(async (browser) => {
    const page = await open(browser);
    await page.goto(admin);
    const found = await page.evaluate(async () => {
        const it = await import('/assets/format.js');
        const { concerns, extended, reduce, route, start } = await import('/assets/state.js');
        const { area, byName, inWords, line } = await import('/assets/chart.js');
        const { inCommon, lasted, leadsTo, settled } = await import('/assets/views/now.js');
        const { begins } = await import('/assets/alarm.js');
        const { moments, rowAt } = await import('/assets/series.js');
        const { momentOf, ofNodes } = await import('/assets/views/history.js');
        const { mean, waiting } = await import('/assets/views/overview.js');
        const { folded } = await import('/assets/views/channel.js');
        const { bars } = await import('/assets/views/refused.js');
        const node = { region: 'r', accountId: '1' };
        const now = (t) => ({ t, messagesPerSecond: 2, deliveryUs: { p50: 1, p99: 2 }, setupMs: { p50: null, p99: null },
            refusedPerSecond: { a: 1, b: 2 }, connections: { master: 3, viewer: 4 } });
        const history = { t: [1000], refusedPerSecond: [0] };
        return [
            [it.number(1234567), '1,234,567'], [it.number(0.126), '0.13'], [it.number(null), '–'], [it.micros(950), '950 µs'],
            [it.micros(12_345), '12.3 ms'], [it.millis(1900), '1.9 s'], [it.millis(null), '–'], [it.bytes(1536), '1.5 KiB'],
            [it.span(2.14), '2.1 s'], [it.span(11_520), '3 h 12 min'], [it.span(86_405), '1 d'], [it.count(1, 'viewer'), '1 viewer'],
            [it.kindOf('0b5cd5a2-7a8d-4f5e-9a55-0123456789ab'), 'id'], [it.kindOf('10.0.4.7:5512'), 'remote'], [it.kindOf('::1'), 'remote'],
            [it.kindOf('AKIDEXAMPLE'), 'name'], [it.kindOf('AKIAIOSFODNN7EXAMPLE'), 'key'], [it.kindOf('cam-17'), 'name'],
            [it.kindOf('arn:aws:kinesisvideo:r:1:channel/c/7'), 'arn'], [it.ceiling(0), 1], [it.ceiling(320), 500], [it.ceiling(0.02), 0.02],
            [it.channelLink('arn:aws:kinesisvideo:r:1:channel/c/7', node), '#/channels/c'],
            [it.channelLink('arn:aws:kinesisvideo:x:2:channel/c/7', node), '#/channels/c?region=x&account=2'],
            [route('#/channels/a%20b?region=x').name, 'a b'], [route('#/channels/%').name, '%'], [route('').page, 'overview'],
            [route('#/nothing').page, 'absent'], [extended(history, now(2000)).t.length, 1], [extended(history, now(3000)).refusedPerSecond[1], 3],
            [extended(null, now(1)), null], [reduce(start, 'nothing', {}), start],
            [it.presence({ master: { since: 's' }, viewers: 0, waiting: [] }).word, 'connected'],
            [it.presence({ master: null, viewers: 0, waiting: [{ since: 's' }] }).since, 's'],
            [it.presence({ master: null, viewers: 1, waiting: [] }).word, 'awaited'], [it.presence(null).word, 'absent'],
            [[['log', 'log'], ['why', 'refusal'], ['refusals', 'refusal'], ['x', 'overview']].map(([topic, name]) => concerns([topic], node, name, {})),
                [true, false, true, true]],
            [['channel:c', 'channel:r/1/c', 'channel:x/2/c', 'channel:d'].map((topic) => concerns([topic], node, 'channel', { region: 'r', account: '1', name: 'c' })),
                [true, true, false, false]],
            [(it.useUtc(true), [it.zone(), it.clock(0), it.stamp(0, true), it.minuteOf(61_000)]), ['UTC', '00:00:00', '1 Jan 00:00:00.000', '00:01']],
            [reduce(start, 'presence', { viewers: 2 }).presence.viewers, 2], [reduce(start, 'resync', {}).presence.channel, undefined],
            [reduce(start, 'overview', { ...now(1), draining: true }).status, 'draining'],
            [reduce({ ...start, status: 'starting' }, 'overview', { ...now(1), status: 'ok', draining: false }).status, 'ok'],
            [['.', '..', '...', 'a b'].map(it.channelPath), ['/channels/name%3A.', '/channels/name%3A..', '/channels/...', '/channels/a%20b']],
            [['.', 'cam_1-a.b', 'a/b', '', 'x'.repeat(257)].map(it.isName), [true, true, false, false, false]],
            [settled(['b', 'a'], [{ id: 'c' }, { id: 'a' }, { id: 'b' }]).map(({ id }) => id).join(''), 'bac'],
            [[['1970-01-01T00:00:09Z', null, null], ['1970-01-01T00:00:00Z', '1970-01-01T00:01:00Z', 'camera back'], ['1970-01-01T00:00:00Z', null, null]]
                .map(([last, ended, endedBy]) => lasted({ first: '1970-01-01T00:00:00Z', last, ended, endedBy })),
            ['since 1 Jan 00:00:00, last 1 Jan 00:00:09', 'from 1 Jan 00:00:00, ended 1 Jan 00:01:00, camera back', 'since 1 Jan 00:00:00']],
            [inCommon({ what: 'userAgent', value: 'x', members: 28, of: 30, healthy: 2, ofHealthy: 4000 }), '28 of 30 have user agent x, and 2 of 4,000 others.'],
            [['#/log', '#/why', null].map((href) => leadsTo({ check: 'reload_failed', cause: { value: 'certificate' }, href })),
                ['#/log?level=WARN&search=the+certificate+stays+as+it+was', '#/why', '']],
            [begins(null, [{ id: 'a', ended: null, known: null }]), []],
            [begins(new Map([['a', true], ['b', false]]), ['a', 'b', 'c'].map((id) => ({ id, ended: null, known: null }))).map(({ id }) => id), ['b', 'c']],
            [begins(new Map(), [{ id: 'a', ended: 'x', known: null }, { id: 'b', ended: null, known: {} }]), []],
            [[{ from: 0, to: 3_600_000 }, { from: 60_000, to: 172_800_000 }].map((span) => moments(span, 4).map(({ text }) => text)),
                [['1 Jan', '00:15', '00:30', '00:45', '01:00'], ['12:00', '2 Jan', '12:00', '3 Jan']]],
            [[rowAt([10, 20], 5), rowAt([10, 20], 15), rowAt([10, 20], 99)], [0, 0, 1]], [inWords([null, 3, 0, 2], it.number), '2, between 0 and 3'],
            [inWords([null], it.number), 'nothing measured'], [['-15m', '-7d', '1970-01-01T00:00:01Z', 'x'].map((text) => momentOf(text, 864e6)), [863_100_000, 259_200_000, 1000, 860_400_000]],
            [[['', ''], ['n1', ''], ['n1', 'n2']].map(([own, chosen]) => Object.values(ofNodes({ step: 2, begins: 'b', columns: { t: [0, 2000, 4000], offers: [1, 2, 3], masters: [4, 4, 4], busyMax: [0.1, 0.2, 0.3] },
                marks: [{ node: 'n1' }], problems: [], ...(own && { nodes: { n2: { step: 4, begins: 'a', columns: { t: [0, 4000], offers: [8, null], masters: [2, 1], busyMax: [0.5, 0] } } } }) }, own, chosen).columns)),
            [[[0, 2000, 4000], [1, 2, 3], [4, 4, 4], [0.1, 0.2, 0.3]], [[0, 4000], [11, 6], [6, 5], [0.5, 0.3]], [[0, 4000], [8, null], [2, 1], [0.5, 0]]]],
            [waiting({ needsSighup: [], needsRestart: ['a', 'b'] }), 'The configuration file has changed since the start: a, b (needs a restart).'], [waiting(undefined), ''],
            [folded([{ from: 'v', to: 'M', action: 'o', bytes: 5, ageSeconds: 1 }, { from: 'v', to: 'M', action: 'i', bytes: 2, ageSeconds: 3 },
                { from: 'v', to: 'M', action: 'i', bytes: 2, ageSeconds: 2 }]), [{ from: 'v', to: 'M', bytes: 9, ageSeconds: 3, actions: 'o, 2 × i' }]],
            [bars([0, 2, 1]), 'M1 16V0.0h.8V16zM2 16V7.5h.8V16z'],
            [line([0, 60_000, 120_000], [1, null, 2], 120_000, 2), 'M0.0 70.0h.1M600.0 0.0h.1'],
            [area('M0.0 70.0h.1L10.0 0.0M600.0 0.0h.1'), 'M0.0 140L0.0 70.0L10.0 0.0V140zM600.0 140L600.0 0.0V140z'],
            [byName([['a', 1], ['b', 3], ['a', 4], ['c', 2], ['d', 1], ['e', 1], ['f', 0]].map(([check, last]) => ({ check, minutes: [...new Array(59).fill(0), last] })))
                .map(({ name, minutes }) => `${name} ${minutes[59]}`), ['a 5', 'b 3', 'c 2', 'd 1', 'others 1']],
            [mean({ t: [0, 50_000, 100_000], m: [9, 2, 4] }, 'm'), 3], [mean(null, 'm'), null],
        ];
    });
    for (const [is, wanted] of found) assert.deepEqual(is, wanted);
    await page.innocent();
}));

// Refusals and traces as the listener writes them, with what only a hostile client would put there.
const refusal = (number, more) => ({ requestId: `0b5cd5a2-7a8d-4f5e-9a55-${String(number).padStart(12, '0')}`,
    at: new Date(Date.UTC(2026, 10, 21, 3, 12, number)).toISOString(), shard: 1, status: 403, errorType: 'AccessDeniedException',
    check: 'signature_expired', says: 'The signature was made 16 minutes ago; it may be 5 minutes old.', do: 'Set the clock of the device.',
    operation: 'ConnectAsViewer', channel: 'cam-17', clientId: 'phone-3', keyId: 'AKIDEXAMPLE', principal: 'camera-fleet',
    remote: '10.0.4.7:5512', clockSkewSeconds: -960, ...more });
const refusals = [refusal(7, {}), refusal(5, { check: 'channel_stale_arn', clockSkewSeconds: null, clientId: '<b>bold</b>',
    says: 'A channel of this name exists, but it was created at another time.', do: 'Describe the channel again and use its ARN.' })];
const minutes = (most) => Array.from({ length: 60 }, (_, place) => (place < 20 ? 0 : (place * 7) % most));
const groups = { groups: refusals.map((one, place) => ({ ...one, refusals: [1204, 1][place], first: refusals[1].at, last: one.at,
    minutes: minutes([9, 2][place]) })), found: { groups: 2, refusals: 1205 }, refusals: 1217, others: 12 };
const trace = { channel: 'cam-17', recording: true, reachesBackTo: '2026-11-21T03:12:07.000Z', truncated: false, master: [
    { connection: 5, remote: '10.0.4.2:1', joined: '2026-11-21T03:12:08.000Z', left: '2026-11-21T03:12:20.000Z', reason: 'protocol_error:1009',
        says: 'a message of 70,112 bytes; expected at most 65,536', refused: 2, unaccepted: { not_json: 2 },
        hints: ['2 messages were not accepted: it is not a JSON object'] },
    { connection: 6, remote: '10.0.4.2:2', joined: '2026-11-21T03:12:42.000Z', left: null, reason: null, says: null, refused: 0, unaccepted: {},
        hints: [] }], viewers: [
    { clientId: 'phone-3', connection: 7, remote: '10.0.4.9:1', joined: '2026-11-21T03:12:10.000Z', left: '2026-11-21T03:12:24.000Z',
        reason: 'peer_closed', says: 'the client closed it', hints: ['the master received the offer 12.4 s ago and has sent nothing'], events: [{ ms: 0, kind: 'join' },
            { ms: 3.1, kind: 'message', action: 'SDP_OFFER', from: 'viewer', bytes: 6372, route: 'to' }, { ms: 14_000, kind: 'leave', reason: 'peer_closed' }] },
    { clientId: 'web-9', connection: 8, remote: '10.0.4.9:2', joined: '2026-11-21T03:12:30.000Z', left: null, reason: null,
        done: true, text: '  9.0 ms  unknown  to the master  40 B  refused: it is not a JSON object', hints: ['the offer waited 12.4 s: no master was connected', 'signaling took 62 ms; what fails after it is ICE or TURN, not the broker'],
        events: [{ ms: 0, kind: 'join' }, { ms: 4, kind: 'message', action: 'SDP_OFFER', from: 'viewer', bytes: 6372, route: 'kept' },
            ...[5, 6, 7].map((ms) => ({ ms, kind: 'message', action: 'ICE_CANDIDATE', from: 'viewer', bytes: 180, route: 'kept' })),
            { ms: 9, kind: 'message', action: 'unknown', from: 'viewer', bytes: 40, route: 'refused', reason: 'not_json',
                says: 'it is not a JSON object' },
            { ms: 12_400, kind: 'delivered', action: 'SDP_OFFER', after: 'kept' },
            { ms: 12_440, kind: 'message', action: 'SDP_ANSWER', from: 'master', bytes: 5100, route: 'to' },
            ...[12_460, 12_470, 12_500, 12_530].map((ms) => ({ ms, kind: 'message', action: 'ICE_CANDIDATE', from: 'master', bytes: 180, route: 'to' }))] }] };

test('refusals and traces are shown in words', { timeout: 90_000 }, () => withBrowser(async (browser) => {
    const peer = await enter('cam-17');
    for (const [width, colorScheme] of [[1280, 'light'], [420, 'dark'], [360, 'light']]) {
        const page = await open(browser, { viewport: { width, height: 900 }, colorScheme });
        await page.route('**/refusals?*', (route) => route.fulfill({ json: { refusals: [refusals[0], refusal(4, {})], found: 2, next: null } }));
        await page.route('**/refusals/*', (route) => route.fulfill({ json: { ...refusals[0], source: 'kept',
            explain: { canonicalRequest: 'GET\n/\nX-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0a1b2c3d…' } } }));
        await page.route('**/refusals/groups?*', (route) => route.fulfill({ json: groups }));
        await page.route('**/channels/cam-17/trace*', (route) => route.fulfill({ json: trace }));
        await page.goto(`${admin}/#/why/phone-3`);
        await page.getByText('1,205 refused since the start, in 2 groups. 12 more, of further channels and keys, were counted only.').waitFor();
        await page.getByText('1,204 ×').waitFor();
        await page.getByText('The signature was made 16 minutes ago').click();
        await page.getByText('Set the clock of the device.').waitFor();
        await page.getByText('X-Amz-Algorithm=AWS4-HMAC-SHA256').first().waitFor();
        await page.getByText('2 of them are kept with their details.').waitFor();
        await page.getByText('A channel of this name exists').click();
        await page.locator('dd', { hasText: '<b>bold</b>' }).waitFor();
        if (pictures !== undefined) await page.screenshot({ path: join(pictures, `refusals-${width}-${colorScheme}.png`), fullPage: true });
        await page.goto(`${admin}/#/channels/cam-17`);
        // Hints are there without a click, the newest viewer first.
        await page.getByText('the offer waited 12.4 s: no master was connected').waitFor();
        assert.deepEqual(await page.locator('.lane .who').allTextContents(), ['web-9', 'phone-3']);
        assert.equal(await page.locator('.masters li > span').first().textContent().then((text) => text.endsWith('until now')), true);
        await page.locator('.lane', { hasText: 'web-9' }).locator('summary').first().click();
        await page.getByRole('region', { name: 'Events of web-9' }).getByText(trace.viewers[1].text).waitFor();
        await page.getByText(/, left: the client closed it$/).waitFor();
        await page.getByText(/^Camera 10\.0\.4\.2:1 .*: a message of 70,112 bytes; expected at most 65,536$/).waitFor();
        await page.getByText(/^Camera 10\.0\.4\.2:2 from .* until now$/).waitFor();
        await page.getByText('2 messages were not accepted: it is not a JSON object', { exact: true }).waitFor();
        // What went well is no hint at trouble.
        assert.deepEqual(await page.locator('.lane .hints .done').allTextContents(), [trace.viewers[1].hints[1]]);
        if (pictures !== undefined) await page.screenshot({ path: join(pictures, `trace-${width}-${colorScheme}.png`), fullPage: true });
        await page.innocent();
    }
    peer.close();
}));

/** The clock is at both ends of a lane and round times between them, none upon another; marks are apart and in order. */
async function hasScale(page, { clientId, joined, events }) {
    const lane = page.locator('.lane', { hasText: clientId });
    const found = await lane.evaluate((it) => {
        const all = (which) => [...it.querySelectorAll(which)].map((one) => ({ text: one.textContent, ...one.getBoundingClientRect().toJSON() }));
        return { ends: all('.scale-end'), labels: all('.tick-label'), ticks: all('.tick'), marks: all('.mark'), svg: all('svg')[0], width: it.querySelector('svg').viewBox.baseVal.width };
    });
    assert.equal(found.width, Math.round(found.svg.width));
    const clock = await page.evaluate((moment) => new Date(moment).toLocaleTimeString('en-GB'), Date.parse(joined));
    assert.ok(found.ends.length === 2 && found.ends[0].text.startsWith(clock), JSON.stringify(found.ends));
    const line = [found.ends[0], ...found.labels, found.ends[1]];
    assert.ok(line.every((it, place) => place === 0 || it.left >= line[place - 1].right + 2), 'labels are apart');
    assert.ok(line.every(({ left, right }) => left >= found.svg.left - 1 && right <= found.svg.right + 1), 'labels are not cut');
    assert.ok(found.ticks.length >= found.labels.length);
    const middles = found.marks.map(({ left, right }) => (left + right) / 2);
    assert.equal(middles.length, events.length);
    assert.ok(middles.every((x, place) => place === 0 || x >= middles[place - 1] + 5), `marks at ${middles}`);
}

test('the messages of a test double are its newest, and can be searched', { timeout: 60_000 }, () => withBrowser(async (browser) => {
    const page = await open(browser);
    const all = Array.from({ length: 1200 }, (_, place) => ({ seq: place + 1, at: '2026-11-21T03:12:08.000Z', channel: `cam-${place + 1}`, action: 'SDP_OFFER',
        from: 'phone', to: null, bytes: 2, outcome: 'delivered', sdp: null, candidate: null, payload: { type: 'offer' } }));
    await page.route('**/dev/messages?*', (route) => {
        const { after, limit } = Object.fromEntries(new URL(route.request().url()).searchParams);
        const messages = all.slice(Number(after), Number(after) + Number(limit));
        return route.fulfill({ json: { messages, missed: 0, next: messages.at(-1)?.seq ?? all.length } });
    });
    await page.goto(`${admin}/#/dev`);
    await page.getByText('The newest 500, the newest first.').waitFor();
    await page.locator('.message').first().getByText('cam-1200,').waitFor();
    await page.getByLabel('Find', { exact: true }).fill('CAM-77');
    await page.getByText('11 messages found, the newest first.').waitFor();
    await page.locator('.message').first().getByText('cam-779,').waitFor();
    await page.innocent();
}));

test('figures of a stream that has ended are not those of now', { timeout: 60_000 }, () => withBrowser(async (browser) => {
    const page = await open(browser);
    await page.route('**/events?*', async (route) => {
        const found = await (await fetch(`${admin}/overview`)).json();
        found.node.name = 'north-1';
        await route.fulfill({ contentType: 'text/event-stream', body: `event: snapshot\ndata: ${JSON.stringify({ ...found, topic: 'overview' })}\n\n` });
    });
    await page.goto(admin);
    await page.locator('#node', { hasText: 'north-1' }).waitFor();
    await page.locator('body.lost').waitFor();
    assert.ok(Number(await page.locator('.figures').evaluate((it) => getComputedStyle(it).opacity)) < 0.6);
    await page.innocent();
}));

test('a table that is cut shows it, and scrolls by the keyboard', { timeout: 60_000 }, () => withBrowser(async (browser) => {
    const peers = [await enter('cam-wide'), await enter('cam-wide', 'phone-with-a-long-name-3')];
    for (const colorScheme of ['light', 'dark']) {
        const page = await open(browser, { viewport: { width: 420, height: 900 }, colorScheme });
        await page.goto(`${admin}/#/channels/cam-wide`);
        const region = page.getByRole('region', { name: 'Viewers' });
        await region.getByRole('rowheader', { name: 'phone-with-a-long-name-3' }).waitFor();
        const card = await region.evaluate((it) => getComputedStyle(it.closest('.card')).backgroundColor);
        // The edges, below the text of the last row.
        const edges = async () => pixels(page, await region.screenshot(), [[1, -5], [-2, -5]]);
        const [left, right] = await edges();
        assert.deepEqual([left === card, right === card], [true, false], `${left} and ${right} on ${card}`);
        await region.focus();
        assert.notEqual(await region.evaluate((it) => getComputedStyle(it).outlineStyle), 'none');
        await region.press('ArrowRight');
        await page.waitForFunction((it) => it.scrollLeft > 0, await region.elementHandle());
        await region.evaluate((it) => { it.blur(); it.scrollLeft = it.scrollWidth; });
        const after = await edges();
        assert.deepEqual(after.map((it) => it === card), [false, true], `${after} on ${card}`);
        // At a width that takes all of it there is no shadow.
        await page.setViewportSize({ width: 1280, height: 900 });
        assert.deepEqual(await edges(), [card, card]);
        await page.innocent();
    }
    for (const peer of peers) { peer.close(); await ended(peer); }
}));

/** Colours of a picture at places that are counted from the right and from below where they are negative. */
function pixels(page, png, places) {
    return page.evaluate(async ([bytes, wanted]) => {
        const picture = await createImageBitmap(new Blob([Uint8Array.from(bytes)], { type: 'image/png' }));
        const canvas = Object.assign(document.createElement('canvas'), { width: picture.width, height: picture.height });
        const context = canvas.getContext('2d');
        context.drawImage(picture, 0, 0);
        return wanted.map(([x, y]) => {
            const [red, green, blue] = context.getImageData((x + picture.width) % picture.width, (y + picture.height) % picture.height, 1, 1).data;
            return `rgb(${red}, ${green}, ${blue})`;
        });
    }, [[...png], places]);
}

test('faults are chosen from what the broker allows', { timeout: 60_000 }, () => withBrowser(async (browser) => {
    const ask = async (fault) => (await fetch(`${admin}/dev/faults`, { method: 'POST', body: JSON.stringify(fault) })).json();
    /** What the broker lists when it refuses a fault. */
    const allowed = async (fault) => (await ask(fault)).error.split('expected ')[1].split(', ');
    const page = await open(browser);
    await page.goto(`${admin}/#/dev`);
    await page.getByLabel('On', { exact: true }).waitFor();
    const texts = (id, of = 'option') => page.$$eval(`#${id} ${of}`, (all) => all.map((one) => one.label));
    const written = async () => JSON.parse(await page.inputValue('#fault'));
    assert.deepEqual(await texts('fault-on'), await allowed({ on: 'nothing' }));
    const values = { Role: ['role', 'message'], Operation: ['operation', 'api'], Message: ['action', 'message'] };
    for (const on of await texts('fault-on')) {
        await page.selectOption('#fault-on', on);
        assert.deepEqual(await texts('fault-do'), await allowed({ on, do: 'nothing' }), on);
        const keys = await allowed({ on, match: { [on === 'api' ? 'role' : 'operation']: on === 'api' ? 'viewer' : 'DescribeSignalingChannel' }, do: 'x' });
        const names = { 'Channel …': 'channel', 'Client id …': 'clientId' };
        const offered = [...(await texts('fault-match', '> option')).slice(1).map((name) => names[name]),
            ...(await texts('fault-match', 'optgroup')).map((name) => values[name][0])];
        assert.deepEqual(offered.sort(), keys.sort(), on);
        for (const label of await texts('fault-match', 'optgroup')) {
            const [key, place] = values[label];
            assert.deepEqual(await texts('fault-match', `[label=${label}] option`), await allowed({ on: place, match: { [key]: '?' }, do: 'drop' }));
        }
        // Each effect is one that the broker takes as it is written.
        for (const effect of await texts('fault-do')) {
            await page.selectOption('#fault-do', { label: effect });
            const fault = await written();
            assert.equal(fault.on, on);
            const made = await ask(fault);
            assert.equal(made.error, undefined, JSON.stringify(fault));
        }
        await fetch(`${admin}/dev/faults`, { method: 'DELETE' });
    }

    // By the keyboard alone; what was written by hand stays.
    await page.fill('#fault', '{"on":"api","do":"hang","times":"always"}');
    await page.focus('#fault-on');
    await page.keyboard.type('mes');
    await page.keyboard.press('Tab');
    await page.keyboard.type('Cha');
    await page.keyboard.press('Tab');
    await page.keyboard.type('cam-9*');
    await page.keyboard.press('Tab');
    await page.keyboard.type('exp');
    assert.deepEqual(await written(), { on: 'message', match: { channel: 'cam-9*' }, do: 'expire', times: 'always' });
    await page.selectOption('#fault-match', { label: 'SDP_OFFER' });
    assert.deepEqual((await written()).match, { action: 'SDP_OFFER' });
    assert.equal(await page.isVisible('#fault-pattern'), false);
    await page.selectOption('#fault-on', 'session');
    assert.equal((await written()).match, undefined, 'a session has no action');
    await page.getByRole('button', { name: 'Set' }).press('Enter');
    const [id] = (await page.getByText(/^f\d+ is set\.$/).textContent()).split(' ');
    await page.getByRole('rowheader', { name: `${id} on session` }).waitFor();
    await page.getByRole('button', { name: `Remove ${id}`, exact: true }).click();
    await page.getByRole('rowheader', { name: `${id} on session` }).waitFor({ state: 'detached' });
    await page.innocent();
}));

test('what goes wrong appears by itself', { timeout: 90_000 }, () => withBrowser(async (browser) => {
    const page = await open(browser);
    await page.goto(`${admin}/#/why`);
    await page.getByText(/^(\d.* refused since the start|No refusals)/).waitFor();
    const refused = await fetch(`${data}/describeSignalingChannel`, { method: 'POST', body: '{"ChannelName":"nobody-1"}' });
    assert.equal(refused.status, 404);
    await page.locator('.refusal', { hasText: 'nobody-1' }).locator('.says').click();
    await page.locator('dd').getByText('nobody-1', { exact: true }).waitFor();
    assert.ok(await page.getByText(refused.headers.get('x-amzn-requestid'), { exact: true }).isVisible());

    // A viewer that leaves without an answer is found, and leads to its own trace.
    const payload = Buffer.from('{}').toString('base64');
    for (const client of ['phone-7', 'phone-8']) {
        const viewer = await enter('cam-7', client);
        if (client === 'phone-7') viewer.send(JSON.stringify({ action: 'SDP_OFFER', messagePayload: payload, recipientClientId: '' }));
        viewer.close();
        await ended(viewer);
    }
    await page.goto(`${admin}/#/find/phone-7`);
    const row = page.locator('.trouble', { hasText: 'phone-7' });
    await row.getByText('unanswered', { exact: true }).waitFor();
    await until('its explanation', async () => {
        await page.reload();
        await row.getByText('unanswered', { exact: true }).waitFor();
        return await row.getByText('no master had connected').count() > 0;
    });
    await row.getByRole('link').click();
    await page.getByRole('heading', { name: 'cam-7' }).waitFor();
    await page.getByText('Only phone-7 is shown.').waitFor();
    await page.locator('.lane', { hasText: 'phone-7' }).waitFor();
    assert.equal(await page.locator('.lane', { hasText: 'phone-8' }).count(), 0);
    await page.getByRole('link', { name: 'Show all viewers' }).click();
    await page.locator('.lane', { hasText: 'phone-8' }).waitFor();

    // The numbers of a connection, as an exemplar of the metrics has them, lead to the same place.
    const trace = await page.evaluate(async () => (await fetch('/channels/cam-7/trace?client=phone-7')).json());
    for (const width of [1280, 390]) {
        await page.setViewportSize({ width, height: 900 });
        await until('a drawing of this width', () => hasScale(page, trace.viewers[0]).then(() => true, () => false));
    }
    await hasScale(page, trace.viewers[0]);
    await page.locator('.lead', { hasText: 'No camera is connected.' }).waitFor();
    const { shard } = await page.evaluate(async () => (await fetch('/channels/cam-7')).json());
    await page.goto(`${admin}/#/session/${shard}/${trace.viewers[0].connection}`);
    await page.getByText('Only phone-7 is shown.').waitFor();
    await page.goto(`${admin}/#/session/${shard}/${2 ** 40}`);
    await page.locator('.notice', { hasText: 'no such connection' }).waitFor();
    await page.innocent();
}));

test('pictures at two widths, light and dark', { skip: pictures === undefined, timeout: 120_000 }, () => withBrowser(async (browser) => {
    const places = (process.env.HELIOGRAPH_PLACES ?? '#/ #/channels #/why #/log #/dev #/history').split(' ');
    for (const width of [1280, 420]) {
        for (const colorScheme of ['light', 'dark']) {
            const page = await open(browser, { viewport: { width, height: 900 }, colorScheme });
            for (const place of places) {
                await page.goto(`${admin}/${place}`);
                await page.locator('#status', { hasText: /^(ok|\d+ problems?)$/ }).waitFor();
                await page.waitForTimeout(1500);
                const name = place.replace(/[^a-z0-9]+/gi, '-').replace(/^-|-$/g, '') || 'overview';
                await page.screenshot({ path: join(pictures, `${name}-${width}-${colorScheme}.png`), fullPage: true });
                for (const least of [width, 360]) {
                    await page.setViewportSize({ width: least, height: 900 });
                    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
                    assert.ok(wide <= 0, `${place} is ${wide} px too wide at ${least}`);
                }
                await page.setViewportSize({ width, height: 900 });
            }
            await page.innocent();
        }
    }
}));
