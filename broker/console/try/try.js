// The page: what the buttons do, and what is shown of the two sides. #role=viewer&channel=NAME shows one side alone.

import { forgetToken, hasToken, headers, keepToken } from '../api.js';
import { Camera } from './camera.js';
import { watch } from './figures.js';
import { Sleep } from './sleep.js';
import { canCapture, open as openSource } from './sources.js';
import { clear, note } from './strip.js';
import { Viewer } from './viewer.js';

const get = (id) => document.getElementById(id);
const hash = new URLSearchParams(location.hash.slice(1));
const sides = { camera: side('camera'), viewer: side('viewer') };
const STATES = {
    idle: '', asleep: 'asleep', connecting: 'connecting …', ready: 'signaling open', lost: 'signaling lost, trying again …',
    dropped: 'signaling dropped; media stays', failed: 'not connected',
};
let settings, camera, source, viewer;
const sleep = new Sleep(get('sleeps'), {
    show: sides.camera.show,
    note: (what, step) => note('camera', what, step),
    admin,
    chosen: () => camera === undefined && sleep.begin(get('channel').value),
    wake: () => startCamera(),
});

// What belongs to one card: its parts, and what shows a change of its side.
function side(name) {
    const card = get(name);
    const part = (selector) => card.querySelector(selector);
    const [video, problem, chat] = [part('video'), part('.problem'), part('.chat ol')];
    const empty = part('.empty');
    empty.dataset.text = empty.textContent;
    const [run, drop, input, send] = [part('.run'), part('.drop'), part('.chat input'), part('.chat button')];
    const all = { card, video, run, drop, again: part('.again'), ended: () => undefined };
    all.figures = (values) => {
        for (const [key, value] of Object.entries(values)) {
            const place = part(`[data-figure=${key}]`);
            if (place) {
                place.textContent = value || '–';
            }
        }
    };
    all.show = (change) => {
        if (change.state !== undefined) {
            card.dataset.state = change.state;
            part('.state').textContent = STATES[change.state];
            drop.textContent = change.state === 'dropped' ? 'Reopen signaling' : 'Drop signaling';
            drop.disabled = !['ready', 'dropped', 'lost'].includes(change.state);
        }
        if ('problem' in change) {
            problem.textContent = change.problem ?? '';
            problem.hidden = !change.problem;
        }
        if ('stream' in change) {
            video.srcObject = change.stream ?? null;
            part('.screen').dataset.on = change.stream !== undefined;
        }
        if ('waits' in change) {
            empty.textContent = change.waits ?? empty.dataset.text;
        }
        if ('viewers' in change) {
            all.figures({ viewers: `${change.viewers}` });
        }
        if ('canSay' in change) {
            [input.disabled, send.disabled] = [!change.canSay, !change.canSay];
        }
        if (change.hasNetwork !== undefined && get('no-network').hidden !== change.hasNetwork) {
            get('no-network').hidden = change.hasNetwork;
            get('no-network').scrollIntoView({ block: 'nearest' });
        }
        if (change.heard) {
            say(chat, ...change.heard);
        }
    };
    part('.chat form').addEventListener('submit', (event) => {
        event.preventDefault();
        if (input.value !== '') {
            (name === 'camera' ? camera : viewer).say(input.value);
            say(chat, 'you', input.value);
            input.value = '';
        }
    });
    drop.addEventListener('click', () => {
        const { line } = name === 'camera' ? camera : viewer;
        if (card.dataset.state === 'dropped') {
            line.open().catch(() => line.retry());
        } else {
            note(name, 'signaling dropped', {}).done({ detail: 'by you' });
            line.drop();
        }
    });
    return all;
}

function say(chat, who, text) {
    const [line, name] = [document.createElement('li'), document.createElement('b')];
    name.textContent = who;
    line.append(name, ` ${text}`);
    chat.append(line);
    while (chat.childElementCount > 50) {
        chat.firstElementChild.remove();
    }
    chat.scrollTop = chat.scrollHeight;
}

const context = (name) => ({ settings, admin, note: (what, step) => note(name, what, step) });

async function startCamera() {
    const { show, run, again, figures } = sides.camera;
    stopCamera();
    sleep.end();
    show({ problem: undefined, state: 'connecting' });
    const chosen = document.querySelector('[name=source]:checked').value;
    try {
        source = await openSource(chosen);
    } catch (error) {
        if (error.absent && chosen === 'camera') {
            note('camera', `source: ${chosen}`, {}).warn(error.message);
            document.querySelector('[name=source][value=card]').checked = true;
            return startCamera();
        }
        note('camera', `source: ${chosen}`, {}).fail(error.message);
        return show({ problem: error.message, state: 'idle' });
    }
    const opened = source;
    opened.stream.getVideoTracks()[0].addEventListener('ended', () => opened === source && stopCamera());
    show({ stream: source.stream });
    camera = new Camera(get('channel').value, context('camera'), source.stream, show);
    offerBoth();
    const started = camera;
    sides.camera.ended = watch(() => started.connections(), figures);
    [run.textContent, again.disabled] = ['Stop camera', false];
    return camera.line.open().catch((error) => {
        if (camera === started) {
            stopCamera();
            show({ problem: error.message, state: 'failed' });
        }
        throw error;
    });
}

function stopCamera() {
    const { show, run, again, figures, ended } = sides.camera;
    ended();
    camera?.close();
    source?.stop();
    [camera, source] = [undefined, undefined];
    offerBoth();
    [run.textContent, again.disabled] = ['Start camera', true];
    figures({ picture: undefined, bitrate: undefined });
    show({ stream: undefined, problem: undefined, canSay: false, viewers: 0 });
}

async function startViewer() {
    const { show, run, figures, video, card } = sides.viewer;
    stopViewer();
    const began = performance.now();
    delete card.dataset.firstFrame;
    show({ problem: undefined });
    figures({ first: undefined });
    video.requestVideoFrameCallback?.(() => {
        card.dataset.firstFrame = `${performance.now() - began}`;
        const text = `${Math.round(performance.now() - began)} ms`;
        note('viewer', 'first frame', {}).done({ detail: `${text} after Watch` });
        figures({ first: text });
    });
    // Another id each time: an answer to the offer before does not reach this one.
    const clientId = `viewer-${random()}`;
    card.querySelector('.who').textContent = clientId;
    viewer = new Viewer(clientId, get('channel').value, context('viewer'), show);
    offerBoth();
    const started = viewer;
    sides.viewer.ended = watch(() => started.connections(), figures);
    run.textContent = 'Stop watching';
    return viewer.open().catch((error) => {
        if (viewer === started) {
            stopViewer();
            show({ problem: error.message, state: 'failed' });
        }
        throw error;
    });
}

function stopViewer() {
    const { show, run, figures, ended } = sides.viewer;
    ended();
    viewer?.close();
    viewer = undefined;
    offerBoth();
    run.textContent = 'Watch';
    figures({ picture: undefined, bitrate: undefined, rtt: undefined, path: undefined });
    show({ stream: undefined, problem: undefined });
}

// There is something to start unless both sides run on the channel that is named.
function offerBoth() {
    const name = get('channel').value;
    get('both').disabled = [camera, viewer].every((side) => side?.line.signaling.channel === name);
}

// Fetches from the listener of this page, with the token if there is one. Where it wants another one, the page asks for it.
async function admin(path, body) {
    const kind = body && { 'Content-Type': 'application/json' };
    const response = await fetch(path, { method: body ? 'POST' : 'GET', headers: headers(kind), body });
    const text = await response.text();
    if (response.status === 401) {
        forgetToken();
        get('login').hidden = false;
    }
    return { status: response.status, answer: text.startsWith('{') ? JSON.parse(text) : {}, bytes: text.length };
}

async function begin() {
    if (hash.has('token')) {
        keepToken(hash.get('token'));
        hash.delete('token');
        history.replaceState(null, '', `/try${hash.size ? `#${hash}` : ''}`);
    }
    const { token, account } = document.documentElement.dataset;
    const asks = token === 'wanted' && !hasToken();
    // Without a token an account of the console may do: its cookie goes along.
    get('login').hidden = !asks || account === 'taken';
    if (!get('login').hidden) {
        return;
    }
    const found = await admin('/try/settings').catch(() => ({ status: 0 }));
    if (found.status !== 200) {
        get('login').hidden &&= token !== 'wanted';
        get('login-problem').textContent = asks && found.status === 401 ? '' : found.answer?.error ?? 'The broker does not answer.';
        return;
    }
    settings = found.answer;
    get('channel').value ||= hash.get('channel') ?? settings.channel;
    sleep.offer(settings);
    get('ribbon').hidden = !settings.warning;
    get('ribbon').textContent = settings.warning ?? '';
    link();
    const alone = { viewer: sides.viewer, camera: sides.camera }[hash.get('role')];
    [sides.camera.run, sides.viewer.run, get('both')].forEach((button) => button.toggleAttribute('disabled', false));
    if (alone) {
        document.body.dataset.alone = hash.get('role');
    }
    document.body.dataset.ready = 'yes';
    if (alone === sides.viewer) {
        startViewer().catch(() => undefined);
    }
}

function link() {
    get('tab').href = `/try#${new URLSearchParams({ role: 'viewer', channel: get('channel').value })}`;
}

function random() {
    return [...crypto.getRandomValues(new Uint8Array(3))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

document.querySelector(`[name=source][value=${canCapture ? 'camera' : 'card'}]`).checked = true;
get('channel').addEventListener('input', () => (link(), settings && offerBoth()));
get('clear').addEventListener('click', clear);
get('start').addEventListener('submit', (event) => {
    event.preventDefault();
    const both = sleep.wanted ? sleep.begin(get('channel').value) : startCamera().then(() => camera);
    both.then((is) => is && startViewer()).catch(() => undefined);
});
get('login').addEventListener('submit', (event) => {
    event.preventDefault();
    keepToken(get('token').value);
    begin();
});
sides.camera.run.addEventListener('click', () => {
    const run = camera ? async () => (stopCamera(), sides.camera.show({ state: 'idle' }), sleep.wanted && sleep.begin(get('channel').value)) : startCamera;
    run().catch(() => undefined);
});
sides.viewer.run.addEventListener('click', () => {
    const run = viewer ? async () => stopViewer() : startViewer;
    run().catch(() => undefined);
});
sides.camera.again.addEventListener('click', () => {
    note('camera', 'reconnect', {}).done({ detail: 'by you' });
    startCamera().catch(() => undefined);
});
document.addEventListener('visibilitychange', () => {
    if (document.hidden && source?.painted) {
        note('camera', 'test card', {}).warn('this tab is in the background: browsers let it paint one frame a second');
    }
});
// In one column the viewer's picture comes first, for the keyboard and for readers of the screen as for the eye.
const oneColumn = matchMedia('(max-width: 820px)');
function arrange() {
    const [first, second] = oneColumn.matches ? [sides.viewer, sides.camera] : [sides.camera, sides.viewer];
    if (second.card.previousElementSibling !== first.card) {
        second.card.before(first.card);
    }
}
oneColumn.addEventListener('change', arrange);
arrange();
document.querySelectorAll('[name=source]').forEach((choice) => choice.addEventListener('change', () => camera && startCamera().catch(() => undefined)));
addEventListener('hashchange', () => location.reload());
begin();
