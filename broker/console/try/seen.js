// What the broker saw of the sessions on this channel: its own drawing of them, once somebody opens it.

import { get } from '../api.js';
import { drawn, h } from '../dom.js';

const EVERY_MS = 2000;
const NEWEST = 3;
const whole = document.getElementById('seen');
const [sentence, place] = ['p', 'div'].map((tag) => whole.querySelector(tag));

async function draw() {
    if (whole.open && !document.hidden) {
        const name = document.getElementById('channel').value;
        const size = `width=${Math.max(200, place.clientWidth)}&zone=${-new Date().getTimezoneOffset()}`;
        const { status, data } = await get(`/channels/${encodeURIComponent(name)}/trace?${size}`);
        sentence.textContent = data.sentence ?? data.error ?? '';
        const lanes = (data.viewers ?? []).slice(-NEWEST).toReversed();
        place.replaceChildren(...status === 200 ? [data.axis.picture].map(drawn) : [],
            ...lanes.flatMap(({ clientId, outcome, lane }) => [h('p', {}, `${clientId}: ${outcome}`), drawn(lane)]));
    }
}

whole.addEventListener('toggle', draw);
setInterval(draw, EVERY_MS);
