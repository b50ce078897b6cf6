// "Open on my phone": a code for a device of the local network, as a QR code and as a link. The server offers it under --lan, on the
// computer that runs the broker.

const NAMESPACE = 'http://www.w3.org/2000/svg';
let over, card, picture, link, note;

function element(name, properties = {}, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
}

// The card is made when it is first wanted: a page without --lan has none.
function build() {
    picture = document.createElementNS(NAMESPACE, 'svg');
    picture.setAttribute('role', 'img');
    picture.setAttribute('aria-label', 'QR code of the link beside it');
    link = element('a', { id: 'phone-link' });
    note = element('p', { id: 'phone-note', className: 'quiet' });
    const steps = element('ol', {},
        element('li', { textContent: 'Scan the code with a phone that is in the same network.' }),
        element('li', { textContent: 'Accept the certificate: the broker made it itself, so the phone does not know it yet.' }),
        element('li', { textContent: 'Press Use this device. Then start its camera, or watch this one.' }));
    const again = element('button', { id: 'phone-new', type: 'button', textContent: 'New code' });
    again.addEventListener('click', renew);
    const text = element('div', {}, element('h2', { textContent: 'Open on my phone' }), steps, link, note, again);
    card = element('section', { id: 'phone', className: 'card phone' }, picture, text);
    document.querySelector('.cards').before(card);
}

async function renew() {
    if (!card) {
        build();
    }
    clearTimeout(over);
    const token = sessionStorage.getItem('token');
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const response = await fetch('/try/pair', { method: 'POST', headers }).catch(() => undefined);
    const answer = await response?.json().catch(() => ({})) ?? {};
    card.dataset.state = response?.ok ? 'open' : 'over';
    if (!response?.ok) {
        note.textContent = answer.error ?? 'The broker does not answer.';
        return;
    }
    draw(answer);
    [link.href, link.textContent] = [answer.url, answer.url];
    note.textContent = `It serves one browser, once, within ${Math.round(answer.seconds / 60)} minutes.`;
    over = setTimeout(() => {
        card.dataset.state = 'over';
        note.textContent = 'This code is over: press New code.';
    }, answer.seconds * 1000);
}

function draw({ size, path }) {
    picture.setAttribute('viewBox', `0 0 ${size} ${size}`);
    const [ground, modules] = ['rect', 'path'].map((name) => document.createElementNS(NAMESPACE, name));
    ground.setAttribute('width', size);
    ground.setAttribute('height', size);
    ground.setAttribute('fill', '#fff');
    modules.setAttribute('d', path);
    modules.setAttribute('shape-rendering', 'crispEdges');
    picture.replaceChildren(ground, modules);
}

if (document.documentElement.dataset.phone === 'offer') {
    const button = element('button', { id: 'phone-open', type: 'button', textContent: 'Open on my phone' });
    button.addEventListener('click', renew);
    document.getElementById('start').append(button);
}
