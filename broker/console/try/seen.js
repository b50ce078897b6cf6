// While a side of this page is running, shows what the broker saw of the sessions on this channel, drawn as in the
// console. Requests also tell the broker what only the peer connection of this page knows.

import { get } from '../api.js';
import { offset } from '../format.js';
import { timeline } from '../views/timeline.js';

const EVERY_MS = 1000;
const place = document.getElementById('seen');
const [hint, sentence] = ['hint', 'sentence'].map((id) => document.getElementById(id));
const invitation = hint.textContent;
const drawing = timeline();
let own = { client: '', at: 0, marks: [] };
let newest, channel, runs;
let running = () => undefined;

// Shows something that the broker cannot see.
export const tell = (text) => {
    hint.textContent = text;
};

// Begins to record a viewer's session. `open` and everything after it are marks.
export function begin(client) {
    own = { client, at: 0, marks: [] };
}

export function mark(word) {
    const at = performance.now();
    own = word === 'open' ? { ...own, at, marks: [] } : { ...own, marks: [...own.marks, `${word}@${Math.round(at - own.at)}`] };
    draw();
}

// Draws the channel on which a side runs according to `find`, and draws it once more when no side runs any longer. The
// name in the form is not used, since it may be only half typed.
export function follow(find) {
    running = find;
    setInterval(() => {
        const found = running();
        if (!document.hidden && (found ?? runs)) {
            draw();
        }
        runs = found;
    }, EVERY_MS);
}

async function draw() {
    channel = running() ?? channel;
    if (channel === undefined) {
        return undefined;
    }
    const query = new URLSearchParams({ width: Math.max(200, drawing.width()), zone: offset() });
    if (own.marks.length > 0) {
        query.set('seen', [own.client, ...own.marks].join());
    }
    const { status, data } = await get(`/channels/${encodeURIComponent(channel)}/trace?${query}`);
    if (status !== 200) {
        return drawing.absent(data.error ?? '');
    }
    if (hint.textContent === invitation) {
        tell('');
    }
    sentence.textContent = data.sentence;
    place.append(drawing.whole);
    drawing.update(data);
    // The events of the newest session are unfolded until somebody folds them.
    const lane = drawing.whole.querySelector(':scope > .lanes > .lane');
    if (lane !== newest) {
        newest = lane;
        lane?.querySelector('details').setAttribute('open', '');
    }
    return undefined;
}
