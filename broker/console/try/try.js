// What the buttons of the page do, and how the two sides are shown. #role=viewer&channel=NAME shows only one side.

import { forgetToken, hasToken, headers, keepToken } from '../api.js';
import { millis } from '../format.js';
import { Camera } from './camera.js';
import { watch } from './figures.js';
import { askRole, keepAwake, offerTurn } from './role.js';
import * as seen from './seen.js';
import { side } from './side.js';
import { Sleep } from './sleep.js';
import { canCapture, open as openSource } from './sources.js';
import { Viewer } from './viewer.js';

const get = (id) => document.getElementById(id);
const hash = new URLSearchParams(location.hash.slice(1));
const sides = { camera: side('camera', () => camera), viewer: side('viewer', () => viewer) };
let settings, camera, source, viewer;
let facing = 'environment'; // a phone has a camera that faces away from its user
const sleep = new Sleep(get('sleeps'), {
    show: sides.camera.show,
    admin,
    chosen: () => camera === undefined && sleep.begin(get('channel').value),
    wake: () => startCamera(),
});

const context = () => ({ settings, admin, mark: seen.mark });

// Opens the chosen picture, or the test card if there is no camera. On failure, shows why and returns undefined.
async function openPicture() {
    const chosen = document.querySelector('[name=source]:checked').value;
    try {
        const opened = await openSource(chosen, facing);
        opened.stream.getVideoTracks()[0].addEventListener('ended', () => opened === source && haltCamera());
        offerTurn(chosen === 'camera', facing);
        return opened;
    } catch (error) {
        if (error.absent && chosen === 'camera') {
            seen.tell(error.message);
            document.querySelector('[name=source][value=card]').checked = true;
            return openPicture();
        }
        sides.camera.show({ problem: error.message });
        return undefined;
    }
}

// Switches to another picture while the camera is running. Its viewers stay connected.
async function changePicture() {
    const [started, opened] = [camera, await openPicture()];
    if (!opened || camera !== started || !camera) {
        return opened?.stop();
    }
    source.stop();
    source = opened;
    camera.replace(opened.stream);
    sides.camera.show({ stream: opened.stream, problem: undefined });
}

async function startCamera() {
    const { show, run, again, figures } = sides.camera;
    stopCamera();
    sleep.end();
    show({ problem: undefined, state: 'connecting' });
    const opened = await openPicture();
    if (!opened) {
        return show({ state: 'idle' });
    }
    source?.stop();
    source = opened;
    show({ stream: source.stream });
    camera = new Camera(get('channel').value, context(), source.stream, show);
    offer();
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
    offer();
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
    get('first').textContent = '…';
    // The id is different each time, so the answer to an earlier offer cannot reach this viewer.
    const clientId = `viewer-${random()}`;
    card.querySelector('.who').textContent = clientId;
    seen.begin(clientId);
    viewer = new Viewer(clientId, get('channel').value, context(), show);
    offer();
    const started = viewer;
    video.requestVideoFrameCallback?.(() => {
        if (viewer !== started) {
            return;
        }
        card.dataset.firstFrame = `${performance.now() - began}`;
        get('first').textContent = millis(Math.round(performance.now() - began));
        seen.mark('first_frame');
    });
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
    offer();
    run.textContent = 'Watch';
    figures({ picture: undefined, bitrate: undefined, rtt: undefined, path: undefined });
    show({ stream: undefined, problem: undefined });
}

// Returns the sides that this page shows, which are both unless it was opened for one.
function own() {
    const { alone } = document.body.dataset;
    return { camera: alone !== 'viewer', viewer: alone !== 'camera' };
}

// Returns whether all sides of this page run on the channel named in the form.
function isRunning() {
    const name = get('channel').value;
    const wanted = [own().camera && camera, own().viewer && viewer].filter((side) => side !== false);
    return wanted.every((side) => side?.line.signaling.channel === name);
}

// Labels the button Start, or Stop if every side of this page is running.
function offer() {
    const runs = isRunning();
    get('both').textContent = runs ? 'Stop' : 'Start';
    get('both').classList.toggle('main', !runs);
    offerTurn(Boolean(camera) && document.querySelector('[name=source]:checked').value === 'camera', facing);
    keepAwake(Boolean(camera || viewer));
}

async function startAll() {
    const before = viewer;
    if (own().camera) {
        const is = sleep.wanted ? await sleep.begin(get('channel').value) : await startCamera().then(() => camera);
        if (!is) {
            return;
        }
    }
    await (own().viewer && viewer === before && startViewer()); // if its own button was pressed meanwhile, it decides
}

function stopAll() {
    stopViewer();
    haltCamera();
}

// Stops the camera or, if it is asleep, ends its sleep.
function haltCamera() {
    stopCamera();
    sleep.end();
    sides.camera.show({ state: 'idle' });
}

// Fetches from the listener of this page, with the token if there is one. If another token is needed, asks for it.
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
    // Without a token, an account of the console may suffice. Its cookie is sent with the request.
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
    const role = ['camera', 'viewer'].find((one) => one === hash.get('role'));
    [sides.camera.run, sides.viewer.run, get('both')].forEach((button) => button.toggleAttribute('disabled', false));
    if (role) {
        document.body.dataset.alone = role;
    }
    askRole(settings.computer, role, { start: () => startAll().catch(() => undefined), stop: stopAll });
    offer();
    document.body.dataset.ready = 'yes';
    if (role === 'viewer') {
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
get('channel').addEventListener('input', () => (link(), settings && offer()));
get('start').addEventListener('submit', (event) => {
    event.preventDefault();
    (isRunning() ? stopAll : startAll)()?.catch(() => undefined);
});
get('share').addEventListener('click', async () => {
    const url = get('tab').href;
    const shared = navigator.share?.({ url }) ?? navigator.clipboard.writeText(url);
    get('share').textContent = await shared.then(() => 'Link shared', () => 'Not shared');
    setTimeout(() => { get('share').textContent = 'Share link'; }, 2000);
});
get('turn').addEventListener('click', () => {
    facing = facing === 'user' ? 'environment' : 'user';
    source.stop(); // phones can open only one camera at a time
    changePicture();
});
get('login').addEventListener('submit', (event) => {
    event.preventDefault();
    keepToken(get('token').value);
    begin();
});
sides.camera.run.addEventListener('click', () => {
    if (camera) {
        haltCamera();
        if (sleep.wanted) {
            sleep.begin(get('channel').value);
        }
    } else {
        startCamera().catch(() => undefined);
    }
});
sides.viewer.run.addEventListener('click', () => {
    const run = viewer ? async () => stopViewer() : startViewer;
    run().catch(() => undefined);
});
sides.camera.again.addEventListener('click', () => {
    startCamera().catch(() => undefined);
});
document.addEventListener('visibilitychange', () => {
    keepAwake(!document.hidden && Boolean(camera || viewer));
    if (document.hidden && source?.painted) {
        seen.tell('This tab is in the background: browsers let the test card paint one frame a second.');
    }
});
document.querySelectorAll('[name=source]').forEach((choice) => choice.addEventListener('change', () => camera && changePicture()));
addEventListener('hashchange', () => location.reload());
seen.follow(() => [viewer, camera].map((side) => side?.line.signaling).find((it) => it?.socket?.readyState === WebSocket.OPEN)?.channel);
begin();
