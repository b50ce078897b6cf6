// A signaling connection that is opened again when it is lost, at increasing intervals.

import { Signaling } from './signaling.js';

const RETRY_MS = [300, 600, 1200, 2500, 5000];

export class Line {
    // `on` gets the messages that arrive, and `show` the state of the connection.
    constructor(side, channel, context, show, on) {
        Object.assign(this, { side, show, iceServers: [], wanted: false, losses: 0 });
        this.signaling = new Signaling(side, channel, {
            ...context,
            on: {
                ...on, closed: () => this.retry(), notice: (payload, from, type) => this.notice(type), refused: (problem) => show({ problem }),
            },
        });
    }

    // Opens the connection. If the first attempt fails, it is not repeated, since there is something to correct first.
    async open() {
        this.wanted = true;
        this.show({ state: 'connecting' });
        this.iceServers = await this.signaling.open();
        this.losses = 0;
        if (!this.wanted) {
            this.signaling.close();
        } else {
            this.show({ state: 'ready' });
        }
    }

    retry() {
        if (!this.wanted) {
            return;
        }
        const wait = RETRY_MS[Math.min(this.losses, RETRY_MS.length - 1)];
        this.losses += 1;
        this.show({ state: 'lost' });
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.wanted && this.open().catch(() => this.retry()), wait);
    }

    notice(type) {
        if (type === 'GO_AWAY') {
            this.drop();
            this.open().catch(() => this.retry());
        }
    }

    send(action, payload, recipient) {
        if (!this.signaling.send(action, payload, recipient) && this.wanted) {
            this.show({ problem: `${action} was not sent: there is no signaling connection.` });
        }
    }

    // Ends the signaling, but keeps the peer connections.
    drop() {
        this.wanted = false;
        clearTimeout(this.timer);
        this.signaling.close();
        this.show({ state: 'dropped' });
    }

    close() {
        this.drop();
        this.show({ state: 'idle' });
    }
}
