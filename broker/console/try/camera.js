// The camera is the master of its channel. It has a peer connection for each viewer that sends an offer.

import { Line } from './line.js';
import { watchGathering } from './network.js';

const CONNECTED_WITHIN_MS = 20_000; // a viewer that leaves in the meantime does not say so

export class Camera {
    // `show` gets what changes: { state, viewers, problem, heard, hasNetwork }.
    constructor(channel, context, stream, show) {
        Object.assign(this, { stream, show });
        this.viewers = new Map(); // by client id: { connection, chat, described }
        this.line = new Line({ role: 'master' }, channel, context, show, {
            offer: (offer, from) => this.answer(offer, from),
            candidate: (candidate, from) => this.candidate(candidate, from),
        });
    }

    connections() {
        return [...this.viewers.values()].map(({ connection }) => connection);
    }

    async answer(offer, from) {
        this.forget(from); // the viewer's page was reloaded
        const connection = new RTCPeerConnection({ iceServers: this.line.iceServers });
        const viewer = { connection, chat: undefined, described: connection.setRemoteDescription(offer) };
        this.viewers.set(from, viewer);
        const end = () => this.viewers.get(from) === viewer && this.forget(from);
        watchGathering(connection, this.show);
        setTimeout(() => ['new', 'connecting'].includes(connection.connectionState) && end(), CONNECTED_WITHIN_MS);
        connection.onicecandidate = ({ candidate }) => candidate && this.line.send('ICE_CANDIDATE', candidate, from);
        connection.onconnectionstatechange = () => {
            if (['failed', 'closed'].includes(connection.connectionState)) {
                end();
            }
            this.count();
        };
        connection.ondatachannel = ({ channel }) => {
            viewer.chat = channel;
            channel.onmessage = ({ data }) => this.show({ heard: [from, `${data}`] });
            channel.onopen = () => this.count(); // the channel may be announced before it is open
            channel.onclose = end;
            this.count();
        };
        try {
            await viewer.described;
            this.stream.getVideoTracks().forEach((track) => connection.addTrack(track, this.stream));
            await connection.setLocalDescription(await connection.createAnswer());
        } catch (error) {
            this.show({ problem: `The offer of ${from} cannot be answered: ${error.message}` });
            return this.forget(from);
        }
        this.line.send('SDP_ANSWER', connection.localDescription, from);
        return undefined;
    }

    async candidate(candidate, from) {
        const viewer = this.viewers.get(from);
        await viewer?.described.catch(() => undefined);
        await viewer?.connection.addIceCandidate(candidate).catch((error) => this.show({ problem: error.message }));
    }

    forget(id) {
        this.viewers.get(id)?.connection.close();
        this.viewers.delete(id);
        this.count();
    }

    count() {
        const chats = [...this.viewers.values()].filter(({ chat }) => chat?.readyState === 'open');
        this.show({ viewers: this.viewers.size, canSay: chats.length > 0 });
    }

    // Switches to another picture, for viewers that are connected and for those that will be.
    replace(stream) {
        this.stream = stream;
        const senders = this.connections().flatMap((connection) => connection.getSenders());
        senders.filter(({ track }) => track?.kind === 'video').forEach((sender) => sender.replaceTrack(stream.getVideoTracks()[0]));
    }

    say(text) {
        [...this.viewers.values()].forEach(({ chat }) => chat?.readyState === 'open' && chat.send(text));
    }

    close() {
        this.line.close();
        [...this.viewers.keys()].forEach((id) => this.forget(id));
    }
}
