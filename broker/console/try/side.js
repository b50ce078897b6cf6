// One side of the page, with its picture, its experiments, and what it shows.

import { fillScreen } from './role.js';

const get = (id) => document.getElementById(id);
const STATES = {
    idle: '', asleep: 'asleep', connecting: 'connecting …', ready: 'signaling open', lost: 'signaling lost, trying again …',
    dropped: 'signaling dropped; media stays', failed: 'not connected',
};

// Returns the parts of a side, and a function that shows a change. `peer` is the side's camera or viewer.
export function side(name, peer) {
    const card = get(name);
    const lab = document.querySelector(`[data-of=${name}]`);
    const part = (selector) => card.querySelector(selector) ?? lab.querySelector(selector);
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
            peer().say(input.value);
            say(chat, 'you', input.value);
            input.value = '';
        }
    });
    part('.full').addEventListener('click', () => fillScreen(part('.screen')));
    drop.addEventListener('click', () => {
        const { line } = peer();
        if (card.dataset.state === 'dropped') {
            line.open().catch(() => line.retry());
        } else {
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
