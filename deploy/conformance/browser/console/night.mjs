// Causes and a history as the broker writes them, for pages that are looked at: thirty cameras with one key, a file that was not
// applied, a camera that answers nothing, one that is back.

import { createServer } from 'node:http';

const began = Date.now();
export const ago = (seconds) => new Date(began - seconds * 1000).toISOString();

const member = (number) => ({ channel: `porch-${number}`, arn: `arn:aws:kinesisvideo:us-west-2:123456789012:channel/porch-${number}/1`, role: 'master',
    clientId: null, keyId: 'AKIDNORTH', remote: `10.0.4.${number}:5512`, events: 40, first: ago(1600), last: ago(20), ended: null });
const cause = (id, more) => ({ id, kind: 'refused', check: 'signature_mismatch', cause: { by: 'key', value: 'AKIDNORTH' }, title: 'Key AKIDNORTH: signature does not match',
    says: 'The signature was made with another secret.', do: 'Give the devices the secret of this key.', look: 'bad', first: ago(1600), last: ago(5), ended: null,
    endedBy: null, channels: 30, events: 1204, members: [1, 2, 3, 4, 5].map(member), shared: [{ what: 'userAgent', value: 'cam-fw/2.1.7', members: 28, of: 30,
        healthy: 2, ofHealthy: 4000 }], known: null, href: '#/why?check=signature_mismatch', ...more });

export const causes = () => [cause('key', {}),
    cause('file', { kind: 'standing', check: 'reload_failed', title: 'Credentials file not applied', says: 'Line 3: expected a key.', do: 'Correct the file, then reload.',
        channels: 0, events: 1, members: [], shared: [], href: '#/log?level=WARN&search=credentials' }),
    cause('mute', { kind: 'session', check: 'unanswered', title: 'Camera cam-9: answers no offer', says: '16 viewers since 07:27.', do: 'Start the camera again.',
        channels: 1, events: 16, members: [], shared: [], href: '#/channels/cam-9' }),
    cause('back', { kind: 'session', check: 'unanswered', title: '<b>cam-3</b>', channels: 1, events: 3, members: [], shared: [], ended: ago(60), endedBy: 'camera back' })];

/** Answers a page with these causes, whatever the broker has; `of()` may change what it says. */
export async function withCauses(page, admin, of, more = {}) {
    const open = (all) => all.filter(({ ended, known }) => ended === null && known === null).length;
    await page.route('**/problems?*', (route) => route.fulfill({ json: { problems: of(), open: open(of()), ended: 1, leftOut: 0 } }));
    await page.route('**/problems/*', (route) => {
        const id = decodeURIComponent(route.request().url().split('/').at(-1));
        return route.fulfill({ json: { ...of().find((one) => one.id === id), members: Array.from({ length: 28 }, (_, place) => member(place + 1)), more: 2 } });
    });
    const found = await (await fetch(`${admin}/overview`)).json();
    const server = createServer((request, response) => {
        response.writeHead(200, { 'Content-Type': 'text/event-stream' });
        const tell = () => {
            const figures = { problems: of(), problemsOpen: open(of()), ...more };
            const event = { ...found, topic: 'overview', ...figures, now: { ...found.now, ...figures } };
            response.write(`event: snapshot\ndata: ${JSON.stringify(event)}\n\n`);
        };
        tell();
        const timer = setInterval(tell, 300);
        response.on('close', () => clearInterval(timer));
    });
    await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
    page.context().on('close', () => { server.close(); server.closeAllConnections(); });
    await page.route('**/events?*', (route) => route.continue({ url: `http://127.0.0.1:${server.address().port}/` }));
}

/** A history of a day at most, a row a minute: thirty cameras are missing while the key is refused. */
export async function withHistory(page, of) {
    await page.route('**/history?*', (route) => {
        const query = new URL(route.request().url()).searchParams;
        const [from, to] = ['from', 'to'].map((name) => Date.parse(query.get(name)));
        const begins = began - 86_400_000;
        const first = Math.ceil(Math.max(from, begins) / 60_000) * 60_000;
        const t = Array.from({ length: Math.max(0, Math.floor((to - first) / 60_000)) }, (_, place) => first + place * 60_000);
        const isOut = (at) => at > began - 1_600_000 && at < began - 600_000;
        const columns = { t, masters: t.map((at) => (isOut(at) ? 70 : 100)), viewers: t.map((at) => 10 + (at / 60_000) % 7), refused_signature: t.map((at) => (isOut(at) ? 30 : 0)),
            refused_policy: t.map(() => 0), refused_rate: t.map(() => null), offers: t.map(() => 120), messages: t.map(() => 6000), busyMax: t.map(() => 0.5), memoryBytes: t.map(() => 3e8) };
        return route.fulfill({ json: { from: query.get('from'), to: query.get('to'), step: 60, begins: new Date(begins).toISOString(), columns,
            problems: of().map(({ members, ...rest }) => rest), marks: [{ at: began - 1_700_000, kind: 'killed', says: 'the process was killed' },
                { at: began - 1_690_000, kind: 'start', says: 'start: 0.1.0' }] } });
    });
}
