/** What start() takes behind arguments. */
export interface Options {
    /** `sigv4`: it checks signatures, and knows one pair of keys, which its environment has. */
    auth?: 'none' | 'sigv4';
    /** `strict`: it enforces the limits of the cloud service. */
    profile?: 'default' | 'strict';
}

/** Starts a broker, with further arguments of `heliograph serve`, which ends with stop() or with this process. */
export function start(...more: [...string[], Options] | string[]): Promise<Heliograph>;

/** A running `heliograph serve --dev`, by its admin listener, and the prefix of one test. */
export class Heliograph {
    constructor(admin: string, environment: Record<string, string>);
    readonly admin: string;
    /** By which clients find the broker: what `heliograph env` prints. */
    readonly environment: Record<string, string>;
    /** Whether signatures are checked. */
    readonly auth: 'none' | 'sigv4';
    /** The URL of the API. */
    readonly endpoint: string;
    readonly prefix: string;
    readonly faults: Faults;
    readonly clock: Clock;
    readonly parity: Parity;
    /** Has clients that this process makes from here on find this broker: start() does that, too. */
    use(): void;
    channel(name: string): string;
    messages(channel?: string, wanted?: { action?: Action; sender?: string; to?: string }): Query<Message>;
    connections(channel?: string, wanted?: { role?: Role; clientId?: string }): Query<Connection>;
    why(requestId: string): Promise<Refusal>;
    /** What the broker saw on each channel of this test, by name. */
    sessions(format?: 'text' | 'svg'): Promise<Record<string, string>>;
    reset(): Promise<{ connections: number; channels: number; faults: number; messages: number }>;
    stop(): Promise<void>;
    request(method: string, path: string, body?: unknown): Promise<any>;
}

export type Role = 'master' | 'viewer';
export type Action = 'SDP_OFFER' | 'SDP_ANSWER' | 'ICE_CANDIDATE';
export type On = 'connect' | 'api' | 'message' | 'delivery' | 'session';

export interface Query<Row> {
    now(): Promise<Row[]>;
    wait(count?: number, within?: string): Promise<Row[]>;
}

export interface Message {
    seq: number;
    at: string;
    channel: string;
    from: string;
    to: string;
    action: Action | null;
    bytes: number;
    outcome: string;
    payload: any;
    sdp: any;
    candidate: any;
}

export interface Connection {
    channel: string;
    role: Role;
    clientId: string | null;
    connectedAt: string;
    remote: string;
    tls: boolean;
    messagesIn: number;
    messagesOut: number;
}

export interface Refusal {
    requestId: string;
    status: number;
    errorType: string;
    check: string;
    says: string;
    do: string;
    [more: string]: unknown;
}

/** What a fault is about, and how often it acts. */
export interface About {
    channel?: string | null;
    role?: Role;
    clientId?: string;
    operation?: string;
    action?: Action;
    skip?: number;
    times?: number | 'always';
    /** The end of the fault, after this time: `60s`. */
    lasts?: string;
    probability?: number;
    seed?: number;
}

export interface OnRequest extends About {
    on?: 'connect' | 'api';
}

/** What may be done to a session with a message: to its sender's, or to its recipient's. */
export interface OnSession extends About {
    on?: 'session' | 'message' | 'delivery';
}

export interface Faults {
    refuse(error?: string, more?: OnRequest & { status?: number; message?: string }): Promise<Fault>;
    throttle(more?: OnRequest & { message?: string }): Promise<Fault>;
    delay(span: string, more: About & { on: Exclude<On, 'session'> }): Promise<Fault>;
    hang(more?: OnRequest): Promise<Fault>;
    reset(more?: About & { on?: On }): Promise<Fault>;
    drop(more?: About & { on?: 'message' | 'delivery' }): Promise<Fault>;
    expire(more?: About): Promise<Fault>;
    status(errorType?: string, more?: About & { code?: number; description?: string }): Promise<Fault>;
    duplicate(more?: About): Promise<Fault>;
    reorder(more?: About): Promise<Fault>;
    misdirect(viewer: string, more?: About): Promise<Fault>;
    corrupt(part?: 'payload' | 'base64' | 'message', more?: About): Promise<Fault>;
    corrupt(more: About): Promise<Fault>;
    goAway(grace?: string, more?: OnSession): Promise<Fault>;
    goAway(more: OnSession): Promise<Fault>;
    close(code?: number, more?: OnSession & { reason?: string; after?: string }): Promise<Fault>;
    close(more: OnSession & { reason?: string; after?: string }): Promise<Fault>;
    stall(span?: string, more?: OnSession): Promise<Fault>;
    stall(more: OnSession): Promise<Fault>;
    halfOpen(span?: string, more?: OnSession): Promise<Fault>;
    halfOpen(more: OnSession): Promise<Fault>;
    reconnectIce(more?: OnSession): Promise<Fault>;
    send(what?: 'empty', more?: OnSession): Promise<Fault>;
    send(more: OnSession): Promise<Fault>;
    make(on: On, act: unknown, more?: About): Promise<Fault>;
}

export interface Fault {
    readonly id: string;
    hits(): Promise<number>;
    shown(): Promise<any>;
    end(): Promise<void>;
}

export interface Clock {
    now(): Promise<{ now: string; advanced: string; wallSkew: string }>;
    advance(span: string): Promise<{ now: string; advanced: string; wallSkew: string }>;
    skew(span: string): Promise<{ now: string; advanced: string; wallSkew: string }>;
}

export interface Parity {
    findings(): Promise<{ rule: string; channel: string; count: number; firstAt: string; says: string }[]>;
    assertNone(): Promise<void>;
}
