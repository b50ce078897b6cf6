// The protocol as a sequence diagram: one row a step, in the order of time, with an arrow between the lanes that it joins.

const STEPS_MAX = 400; // the oldest rows make room
const ACROSS = ['peer connection', 'first frame']; // from one browser to the other

const list = document.getElementById('steps');
const hint = document.getElementById('hint');
let began;
let watches = 0;
let candidates = {}; // rows of the burst that goes on, by side and way

// Adds a row. `way` is 'out' (to the broker), 'in' (from it) or 'peer' (of the browser itself, or between the two). The step is open
// until it is done or has failed; both may add bytes and a detail. The candidates of a burst are one row.
export function note(role, what, { way = 'peer', bytes, detail } = {}) {
    const at = performance.now();
    began ??= at;
    const burst = `${role} ${way}`;
    if (what === 'ICE_CANDIDATE' && candidates[burst]) {
        return candidates[burst].add(bytes);
    }
    const { row, more } = draw(role, what, way, at - began);
    let times = 1;
    const show = (extra) => {
        more.textContent = [times > 1 && `× ${times}`, ...extra, detail].filter(Boolean).join(' · ');
    };
    show([bytes && size(bytes)]);
    const took = () => performance.now() - at;
    const step = {
        done(end = {}) {
            row.classList.add('done');
            detail = end.detail ?? detail;
            show([took() >= 0.5 && way === 'out' && end.bytes !== undefined && span(took()), sizes(bytes, end.bytes)]);
        },
        // Returns the error to throw.
        fail(reason) {
            row.classList.add('failed');
            more.textContent = reason;
            return new Error(reason);
        },
        // What is not wrong yet, but may become so.
        warn(text) {
            row.classList.add('warned');
            more.textContent = text;
        },
        // One more of a burst.
        add(further) {
            [times, bytes] = [times + 1, bytes + further];
            show([size(bytes)]);
            return step;
        },
    };
    candidates = what === 'ICE_CANDIDATE' ? { ...candidates, [burst]: step } : {};
    return step;
}

function draw(role, what, way, since) {
    const row = document.createElement('li');
    const isAcross = way === 'peer' && ACROSS.includes(what);
    row.className = `${role} ${way}${isAcross ? ' across' : ''}`;
    const [side, time, name, more, text] = ['unseen side', 'time', 'what', 'more', 'step'].map((kind) =>
        Object.assign(document.createElement('span'), { className: kind }));
    const other = isAcross ? 'viewer' : 'broker';
    side.textContent = isAcross ? 'camera to viewer: ' : way === 'out' ? `${role} to ${other}: ` : way === 'in' ? `${other} to ${role}: ` : `${role}: `;
    time.textContent = span(since);
    name.textContent = what;
    text.append(side, name, ' ', more);
    row.append(time, text);
    const follows = list.scrollHeight - list.scrollTop - list.clientHeight < 4 && list.scrollTop > 0;
    list.append(row);
    hint.hidden = true;
    while (list.childElementCount > STEPS_MAX) {
        list.firstElementChild.remove();
    }
    // The first call stays in sight; who has scrolled to the end stays there.
    if (follows) {
        list.scrollTop = list.scrollHeight;
    }
    return { row, more };
}

// A watch begins. Of a further one what was before is above.
export function divide() {
    [watches, candidates] = [watches + 1, {}];
    if (watches > 1) {
        const row = Object.assign(document.createElement('li'), { className: 'run', textContent: `Watch ${watches}` });
        list.append(row);
        list.scrollTop = row.offsetTop;
    }
}

export function clear() {
    list.replaceChildren();
    hint.hidden = false;
    [began, watches, candidates] = [undefined, 0, {}];
}

const span = (ms) => (ms < 100 ? `${ms.toFixed(1)} ms` : ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(2)} s`);
const size = (bytes) => `${bytes.toLocaleString('en')} B`;
const sizes = (sent, got) => [sent, got].filter((bytes) => bytes > 0).map(size).join(' → ');
