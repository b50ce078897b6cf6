// What a peer connection measures about itself, once a second, as short texts.

// Calls `show` with the figures until the returned function is called.
export function watch(connections, show) {
    let last = { bytes: 0, at: performance.now() };
    const timer = setInterval(async () => {
        const reports = await Promise.all(connections().map((connection) => connection.getStats()));
        const all = reports.flatMap((report) => [...report.values()]);
        const streams = all.filter(({ type, kind }) => ['inbound-rtp', 'outbound-rtp'].includes(type) && kind === 'video');
        const bytes = streams.reduce((sum, { bytesReceived, bytesSent }) => sum + (bytesReceived ?? bytesSent ?? 0), 0);
        const [at, { frameWidth, frameHeight, framesPerSecond }] = [performance.now(), streams[0] ?? {}];
        const pair = all.find(({ type, nominated, state }) => type === 'candidate-pair' && nominated && state === 'succeeded');
        const [local, remote] = [pair?.localCandidateId, pair?.remoteCandidateId].map((id) => all.find((entry) => entry.id === id));
        show({
            picture: frameWidth && `${frameWidth} × ${frameHeight}, ${Math.round(framesPerSecond ?? 0)} fps`,
            bitrate: bytes > 0 && rate(Math.max(bytes - last.bytes, 0), at - last.at),
            rtt: pair?.currentRoundTripTime !== undefined && `${(pair.currentRoundTripTime * 1000).toFixed(1)} ms`,
            path: local && remote && `${local.candidateType} → ${remote.candidateType}, ${local.protocol}`,
        });
        last = { bytes, at };
    }, 1000);
    return () => clearInterval(timer);
}

function rate(bytes, milliseconds) {
    const kilobits = (bytes * 8) / milliseconds;
    return kilobits < 1000 ? `${Math.round(kilobits)} kbit/s` : `${(kilobits / 1000).toFixed(1)} Mbit/s`;
}
