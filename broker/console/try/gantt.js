// Time to the first frame as a Gantt chart: its parts by name, each from the end of the one before.

const PARTS = ['API calls', 'WebSocket', 'Offer', 'Answer', 'ICE, DTLS', 'First frame'];
const TITLES = [
    'The viewer looks up the channel and its ICE servers.', 'The viewer opens the WebSocket for signaling.', 'The viewer makes its offer.',
    'The offer goes to the camera, and the answer comes back.', 'Both find a path and agree on keys.', 'The first picture arrives and is decoded.',
];
const TICK_MS = 100;

const list = document.getElementById('gantt');
const sum = document.querySelector('.sum');
const rows = PARTS.map((part, place) => {
    const row = document.createElement('li');
    row.title = TITLES[place];
    const [name, track, time] = ['name', 'track', 'ms'].map((kind) => Object.assign(document.createElement('span'), { className: kind }));
    const bar = document.createElement('i');
    track.append(bar);
    name.textContent = part;
    row.append(name, track, time);
    list.append(row);
    return { row, bar, time };
});

let ends = []; // of the parts, in milliseconds since the begin
let began, timer;

// A watch begins.
export function begin() {
    end();
    [ends, began] = [[], performance.now()];
    timer = setInterval(draw, TICK_MS);
    draw();
}

// A step of the viewer: what it is, and its row, whose end may be the end of a part.
export function follow(what, way, step) {
    const place = { WebSocket: 1, SDP_OFFER: 2, SDP_ANSWER: 3, 'peer connection': 4, 'first frame': 5 }[what];
    if (what === 'WebSocket') {
        reach(0);
    }
    if (place === undefined || (what === 'SDP_OFFER' && way !== 'out')) {
        return step;
    }
    const { done } = step;
    return Object.assign(step, {
        done(more) {
            done(more);
            reach(place);
        },
    });
}

// A part ends, if the ones before have.
function reach(place) {
    if (began !== undefined && ends.length === place) {
        ends.push(performance.now() - began);
        draw();
        if (ends.length === PARTS.length) {
            end();
        }
    }
}

// No further part ends: all have, or the watch was stopped.
export function end() {
    clearInterval(timer);
    began = undefined;
}

function draw() {
    const now = began === undefined ? ends.at(-1) : performance.now() - began;
    const whole = Math.max(now, 1);
    rows.forEach(({ row, bar, time }, place) => {
        const from = place === 0 ? 0 : ends[place - 1];
        const to = ends[place] ?? (place === ends.length ? now : undefined);
        const isShown = from !== undefined && to !== undefined;
        row.dataset.state = ends[place] !== undefined ? 'done' : isShown ? 'now' : 'open';
        bar.style.left = `${isShown ? (100 * from) / whole : 0}%`;
        bar.style.width = `${isShown ? (100 * (to - from)) / whole : 0}%`;
        time.textContent = isShown ? text(to - from) : '';
    });
    sum.textContent = text(now);
}

const text = (ms) => (ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);
