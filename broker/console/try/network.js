// Detects whether ICE finds any address of this machine. If a machine has only loopback, browsers find none.

const WITHIN_MS = 3000; // an address takes some milliseconds; with only loopback, Chromium never stops gathering

// Reports that a connection gathers no candidates. Withdraws the report if a candidate comes after all, or if the other
// side reaches this one on its own.
export function watchGathering(connection, show) {
    let [found, reported] = [false, false];
    const check = () => {
        const isOver = found || reported || connection.connectionState === 'closed';
        // If only relays may be used, the addresses of this machine are left out on purpose.
        if (!isOver && connection.getConfiguration().iceTransportPolicy !== 'relay') {
            reported = true;
            show({ hasNetwork: false });
        }
    };
    const works = () => {
        found = true;
        show({ hasNetwork: true });
    };
    connection.addEventListener('icecandidate', ({ candidate }) => candidate?.candidate && works());
    connection.addEventListener('connectionstatechange', () => connection.connectionState === 'connected' && works());
    connection.addEventListener('icegatheringstatechange', () => {
        if (connection.iceGatheringState === 'gathering') {
            setTimeout(check, WITHIN_MS);
        } else if (connection.iceGatheringState === 'complete') {
            check();
        }
    });
}
