// "Open on my phone": a code for a device on the local network, as a QR code and as a link. The server offers it under
// --lan, on the computer that runs the broker.

import { headers } from '../api.js';
import { h, svg } from '../dom.js';

let over, card, picture, link, note;

// The card is created when it is first needed. Without --lan, the page has none.
function build() {
    picture = svg('svg', { role: 'img', 'aria-label': 'QR code of the link beside it' });
    link = h('a', { id: 'phone-link' });
    note = h('p', { id: 'phone-note', class: 'quiet' });
    const steps = h('ol', {},
        h('li', {}, 'Scan the code with a phone that is in the same network.'),
        h('li', {}, 'Accept the certificate: the broker made it itself, so the phone does not know it yet.'),
        h('li', {}, 'Press Use this device, then choose: be the camera, or watch.'));
    const again = h('button', { id: 'phone-new', type: 'button', click: renew }, 'New code');
    const text = h('div', {}, h('h2', {}, 'Open on my phone'), steps, link, note, again);
    card = h('section', { id: 'phone', class: 'card phone' }, picture, text);
    document.querySelector('.stage').before(card);
}

async function renew() {
    if (!card) {
        build();
    }
    clearTimeout(over);
    const response = await fetch('/try/pair', { method: 'POST', headers: headers() }).catch(() => undefined);
    const answer = await response?.json().catch(() => ({})) ?? {};
    card.dataset.state = response?.ok ? 'open' : 'over';
    if (!response?.ok) {
        note.textContent = answer.error ?? 'The broker does not answer.';
        return;
    }
    draw(answer);
    [link.href, link.textContent] = [answer.url, answer.url];
    note.textContent = `Valid for one browser, for ${Math.round(answer.seconds / 60)} minutes.`;
    over = setTimeout(() => {
        card.dataset.state = 'over';
        note.textContent = 'Code expired. Press New code.';
    }, answer.seconds * 1000);
}

function draw({ size, path }) {
    picture.setAttribute('viewBox', `0 0 ${size} ${size}`);
    const ground = svg('rect', { width: size, height: size, fill: '#fff' });
    picture.replaceChildren(ground, svg('path', { d: path, 'shape-rendering': 'crispEdges' }));
}

if (document.documentElement.dataset.phone === 'offer') {
    const button = h('button', { id: 'phone-open', type: 'button', click: renew }, 'Open on my phone');
    document.getElementById('share').before(button);
}
