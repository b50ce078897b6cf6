// The viewer sends one offer to the master of its channel and has one peer connection.

import { Line } from './line.js';
import { watchGathering } from './network.js';

const CONNECTED_WITHIN_MS = 8000; // a browser gives up only after half a minute, and never without any address

export class Viewer {
    // `show` gets what changes: { state, stream, problem, heard, hasNetwork }.
    constructor(clientId, channel, context, show) {
        Object.assign(this, { show, mark: context.mark, connection: undefined, found: { here: 0, there: 0 } });
        this.described = new Promise((resolve) => {
            this.describe = resolve;
        });
        this.line = new Line({ role: 'viewer', clientId }, channel, context, show, {
            answer: (answer) => this.answer(answer),
            candidate: (candidate) => this.candidate(candidate),
        });
        this.called = context.settings.called;
    }

    // Shows what an unanswered offer is waiting for, and for how many seconds. This is not an error, since a camera may
    // come later.
    wait() {
        clearInterval(this.counted);
        if (this.offered === undefined) {
            return;
        }
        const words = this.called ? 'Waking the camera' : 'No answer yet: the offer waits for the camera';
        const count = () => this.show({ waits: `${words} … ${Math.round((performance.now() - this.offered) / 1000)} s` });
        this.counted = setInterval(count, 1000);
        count();
    }

    waitNoMore() {
        clearInterval(this.counted);
        this.offered = undefined;
        this.show({ waits: undefined });
    }

    connections() {
        return this.connection ? [this.connection] : [];
    }

    async open() {
        await this.line.open();
        this.mark('open');
        if (this.line.wanted) {
            await this.offer();
        }
    }

    async offer() {
        const connection = new RTCPeerConnection({ iceServers: this.line.iceServers });
        this.connection = connection;
        watchGathering(connection, this.show);
        connection.onicecandidate = ({ candidate }) => {
            if (candidate) {
                this.found.here += 1;
                this.line.send('ICE_CANDIDATE', candidate);
            }
        };
        connection.onconnectionstatechange = () => connection === this.connection && this.changed();
        connection.ontrack = ({ streams, track }) => this.show({ stream: streams[0] ?? new MediaStream([track]) });
        connection.addTransceiver('video', { direction: 'recvonly' });
        this.chat = connection.createDataChannel('chat');
        this.chat.onopen = () => this.show({ canSay: true });
        this.chat.onclose = () => {
            this.show({ canSay: false });
            if (connection === this.connection) {
                this.show({ problem: 'The camera has ended the connection. Watch again when it is back.' });
            }
        };
        this.chat.onmessage = ({ data }) => this.show({ heard: ['camera', `${data}`] });
        await connection.setLocalDescription(await connection.createOffer());
        this.line.send('SDP_OFFER', connection.localDescription);
        this.offered = performance.now();
        this.wait();
    }

    async answer(answer) {
        clearTimeout(this.patience);
        this.waitNoMore();
        this.show({ problem: undefined });
        this.patience = setTimeout(() => this.stuck(), CONNECTED_WITHIN_MS);
        await this.take((connection) => connection.setRemoteDescription(answer));
        this.describe();
    }

    async candidate(candidate) {
        this.found.there += 1;
        await this.described;
        await this.take((connection) => connection.addIceCandidate(candidate));
    }

    // By the time something from the camera arrives, the connection may be closed. It may also be invalid.
    async take(apply) {
        const { connection } = this;
        try {
            await (connection && apply(connection));
        } catch (error) {
            if (connection === this.connection) {
                this.show({ problem: error.message });
            }
        }
    }

    changed() {
        const state = this.connection.connectionState;
        if (state === 'connected') {
            clearTimeout(this.patience);
            this.mark('peer_connected');
            this.show({ problem: undefined });
        } else if (state === 'failed') {
            this.stuck();
        } else if (state === 'disconnected') {
            this.show({ problem: 'The camera sends nothing any more. Watch again when it is back.' });
        }
    }

    // Signaling is done, but no packet has arrived.
    stuck() {
        clearTimeout(this.patience);
        const relay = this.line.iceServers.some(({ urls }) => [urls].flat().some((url) => url.startsWith('turn')));
        const { here, there } = this.found;
        const reason = `Signaling is done, and ICE found no route between the two: ${here} addresses here, ${there} there, ${relay ? 'a' : 'no'} relay in [[ice]].`;
        this.mark('peer_failed');
        this.show({ problem: reason });
    }

    say(text) {
        this.chat.send(text);
    }

    close() {
        clearTimeout(this.patience);
        this.waitNoMore();
        this.line.close();
        const { connection } = this;
        this.connection = undefined;
        connection?.close();
        this.show({ canSay: false });
    }
}
