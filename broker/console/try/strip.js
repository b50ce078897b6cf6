// The protocol as it happens: one row a step, those of the camera on the left, those of the viewer on the right.

const STEPS_MAX = 400; // the oldest rows make room

const list = document.getElementById('steps');
const hint = document.getElementById('hint');
let began;

// Begins a row. `way` is 'out' (to the broker), 'in' (from it) or 'peer' (between the two browsers). The step is open until it is
// done or has failed; both may add bytes and a detail.
export function note(role, what, { way = 'peer', bytes, detail } = {}) {
    const at = performance.now();
    began ??= at;
    const row = document.createElement('li');
    row.className = `${role} ${way}`;
    const [side, time, name, more] = ['side', 'time', 'what', 'more'].map((kind) => {
        const part = document.createElement('span');
        part.className = kind;
        return part;
    });
    side.textContent = role;
    time.textContent = ms(at - began);
    name.textContent = what;
    const text = document.createElement('span');
    text.className = 'step';
    text.append(side, name, more);
    row.append(text, time);
    const show = (extra) => {
        more.textContent = [...extra.filter(Boolean), detail].filter(Boolean).join(' · ');
    };
    show([bytes && size(bytes)]);
    list.append(row);
    hint.hidden = true;
    while (list.childElementCount > STEPS_MAX) {
        list.firstElementChild.remove();
    }
    follow();
    const took = () => performance.now() - at;
    return {
        done(end = {}) {
            row.classList.add('done');
            detail = end.detail ?? detail;
            show([took() >= 0.5 && way === 'out' && end.bytes !== undefined && `${ms(took())} ms`, sizes(bytes, end.bytes)]);
            follow();
        },
        // Returns the error to throw.
        fail(reason) {
            row.classList.add('failed');
            more.textContent = reason;
            follow();
            return new Error(reason);
        },
        // What is not wrong yet, but may become so.
        warn(text) {
            row.classList.add('warned');
            more.textContent = text;
            follow();
        },
    };
}

export function clear() {
    list.replaceChildren();
    hint.hidden = false;
    began = undefined;
}

// The list follows its end, unless somebody scrolled up to read.
let stays = true;
function follow() {
    if (stays) {
        list.scrollTop = list.scrollHeight;
    }
}
list.addEventListener('scroll', () => {
    stays = list.scrollHeight - list.scrollTop - list.clientHeight < 24;
});

const ms = (value) => (value < 100 ? value.toFixed(1) : value < 10_000 ? value.toFixed(0) : `${(value / 1000).toFixed(1)} s`);
const size = (bytes) => `${bytes.toLocaleString('en')} B`;
const sizes = (sent, got) => [sent, got].filter((bytes) => bytes > 0).map(size).join(' → ');
