// A client of the signaling protocol. Given the name of a channel, it opens a WebSocket and sends and receives
// messages. If the broker does not check signatures, the client makes the calls that an SDK makes. Otherwise, the
// broker gives it a presigned URL for one channel and role. `on` gets what arrives.

const ACTIONS = { SDP_OFFER: 'offer', SDP_ANSWER: 'answer', ICE_CANDIDATE: 'candidate' };

export class Signaling {
    // `side` is { role: 'master' | 'viewer', clientId }, `settings` is the answer of /try/settings, and `admin` fetches
    // from the admin listener.
    constructor(side, channel, { settings, admin, on }) {
        Object.assign(this, { side, channel, settings, admin, on });
        this.session = undefined;
        this.socket = undefined;
    }

    // Resolves with the ICE servers once the WebSocket is open. If it is refused, the error contains the reason.
    async open() {
        const { url, iceServers } = this.settings.signed ? await this.borrow() : await this.discover();
        await this.connect(url);
        return iceServers;
    }

    // Obtains a session from the broker. Its URL can be used to reconnect as well, until it expires.
    async borrow() {
        if (this.session === undefined || Date.parse(this.session.credentials.expiration) < Date.now() + 10_000) {
            const body = JSON.stringify({ channel: this.channel, ...this.side });
            const { status, answer } = await this.admin('/try/session', body).catch(() => {
                throw new Error('The admin listener does not answer.');
            });
            if (status !== 200) {
                throw new Error(answer.error ?? `status ${status}`);
            }
            this.session = answer;
        }
        return this.session;
    }

    // Finds the channel's ARN, creating the channel if it does not exist, and the ICE servers.
    async discover() {
        const arn = (await this.find()) ?? (await this.call('CreateSignalingChannel', { ChannelName: this.channel })).ChannelARN;
        const ice = await this.call('GetIceServerConfig', { ChannelARN: arn, ClientId: this.side.clientId }, '/v1/get-ice-server-config');
        const iceServers = ice.IceServerList.map(({ Uris, Username, Password }) => ({ urls: Uris, username: Username, credential: Password }));
        const query = [`X-Amz-ChannelARN=${encodeURIComponent(arn)}`];
        if (this.side.clientId !== undefined) {
            query.push(`X-Amz-ClientId=${encodeURIComponent(this.side.clientId)}`);
        }
        return { url: `${this.settings.ws}/?${query.join('&')}`, iceServers };
    }

    async find() {
        const ChannelNameCondition = { ComparisonOperator: 'BEGINS_WITH', ComparisonValue: this.channel };
        let NextToken;
        do {
            const page = await this.call('ListSignalingChannels', { ChannelNameCondition, MaxResults: 10, NextToken });
            const found = page.ChannelInfoList.find(({ ChannelName }) => ChannelName === this.channel);
            if (found) {
                return found.ChannelARN;
            }
            NextToken = page.NextToken;
        } while (NextToken);
        return undefined;
    }

    async call(operation, request, path = `/${operation[0].toLowerCase()}${operation.slice(1)}`) {
        const body = JSON.stringify(request);
        let response, text;
        try {
            response = await fetch(this.settings.http + path, { method: 'POST', body });
            text = await response.text();
        } catch {
            throw new Error(`Nothing answers at ${this.settings.http}.`);
        }
        const answer = JSON.parse(text || '{}');
        if (!response.ok) {
            const [type, id] = ['x-amzn-ErrorType', 'x-amzn-RequestId'].map((name) => response.headers.get(name));
            throw new Error(`${operation}: ${response.status} ${type}: ${answer.message ?? answer.Message ?? ''} (request ${id})`);
        }
        return answer;
    }

    connect(url) {
        const socket = new WebSocket(url);
        this.socket = socket;
        let open = false;
        return new Promise((resolve, reject) => {
            socket.onopen = () => {
                open = true;
                resolve();
            };
            socket.onmessage = ({ data }) => this.socket === socket && this.receive(data);
            socket.onclose = async () => {
                if (!open) {
                    reject(new Error(await this.why()));
                } else if (this.socket === socket) {
                    this.socket = undefined;
                    this.on.closed();
                }
            };
        });
    }

    // A browser does not tell why a WebSocket was refused. The broker's list of refusals does, a moment after the
    // response.
    async why() {
        const query = new URLSearchParams({ channel: this.channel, limit: 1 });
        for (let tries = 0; tries < 20; tries += 1) {
            const found = await this.admin(`/refusals?${query}`).catch(() => undefined);
            const refusal = found?.answer?.refusals?.[0];
            if (refusal && refusal.requestId !== this.shown) {
                const { check, fault, says, do: remedy } = refusal;
                this.shown = refusal.requestId;
                return `${check}${fault ? ` (${fault})` : ''}: ${says} ${remedy}`;
            }
            if (!found?.answer?.refusals) {
                break; // nothing answers, or the token is wrong
            }
            await new Promise((resolve) => setTimeout(resolve, 100));
        }
        return 'the WebSocket was refused, or nothing answers there: see the log of the broker';
    }

    receive(data) {
        const message = data ? JSON.parse(data) : {};
        const { messageType, messagePayload, senderClientId, statusResponse } = message;
        if (statusResponse) {
            this.on.refused(`${statusResponse.statusCode} ${statusResponse.errorType}: ${statusResponse.description ?? ''}`);
        } else {
            this.on[ACTIONS[messageType] ?? 'notice']?.(messagePayload && decode(messagePayload), senderClientId, messageType);
        }
    }

    // Sends a message. Returns whether it was handed to the socket.
    send(action, payload, recipientClientId) {
        if (this.socket?.readyState !== WebSocket.OPEN) {
            return false;
        }
        this.socket.send(JSON.stringify({ action, recipientClientId, messagePayload: encode(payload), correlationId: `${Date.now()}` }));
        return true;
    }

    close() {
        const socket = this.socket;
        this.socket = undefined;
        socket?.close();
    }
}

const encode = (value) => btoa(String.fromCharCode(...new TextEncoder().encode(JSON.stringify(value))));
const decode = (text) => JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(text), (char) => char.charCodeAt(0))));
