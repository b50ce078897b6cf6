// Whether ICE finds any address of this machine: where there is loopback alone, browsers find none.

const WITHIN_MS = 3000; // an address takes some milliseconds; with loopback alone Chromium gathers without an end

// Reports a connection that gathers no candidate, and takes the report back if one comes after all, or the other side
// finds this one by itself.
export function watchGathering(connection, show) {
    let [found, reported] = [false, false];
    const check = () => {
        const isOver = found || reported || connection.connectionState === 'closed';
        // With a relay alone there are no addresses of this machine by intent.
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
