// Sources of the camera's picture: a device, the screen, or a test card, which needs neither a permission nor a device.

export const canCapture = navigator.mediaDevices !== undefined; // needs loopback or https

// Opens a source. Returns its stream and a function that ends it. If permission is denied, the error is a sentence that
// says what to do.
export async function open(source, facingMode) {
    if (source === 'card') {
        return testCard();
    }
    if (!canCapture) {
        throw new Error('Browsers give cameras to pages of loopback or https only. Use the test card, or open this page on the machine of the broker.');
    }
    try {
        const stream = await (source === 'screen'
            ? navigator.mediaDevices.getDisplayMedia({ video: true })
            : navigator.mediaDevices.getUserMedia({ video: { facingMode, width: { ideal: 1280 }, height: { ideal: 720 } } }));
        return { stream, stop: () => stream.getTracks().forEach((track) => track.stop()) };
    } catch (error) {
        throw Object.assign(new Error(ADVICE[error.name] ?? `${error.name}: ${error.message}`), { absent: error.name === 'NotFoundError' });
    }
}

const ADVICE = {
    NotAllowedError: 'Permission was denied. Allow it beside the address of this page and start again, or use the test card.',
    NotFoundError: 'This machine has no camera: the test card takes its place.',
    NotReadableError: 'Another program uses the camera. Close it there, or use the test card.',
};

// The bars of the EBU test pattern at 75 %, a clock, and a moving dot, which shows that the picture is not frozen.
export const BARS = [[191, 191, 191], [191, 191, 0], [0, 191, 191], [0, 191, 0], [191, 0, 191], [191, 0, 0], [0, 0, 191]];

function testCard() {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [640, 360];
    const context = canvas.getContext('2d', { alpha: false });
    const bar = canvas.width / BARS.length;
    const paint = () => {
        const { width, height } = canvas;
        BARS.forEach((colour, n) => {
            context.fillStyle = `rgb(${colour})`;
            context.fillRect(Math.floor(n * bar), 0, Math.ceil(bar), height * 0.7);
        });
        context.fillStyle = '#10161d';
        context.fillRect(0, height * 0.7, width, height * 0.3);
        const now = new Date();
        context.fillStyle = '#e7ebf0';
        context.textBaseline = 'middle';
        context.font = '600 44px ui-monospace, Menlo, "DejaVu Sans Mono", monospace';
        context.fillText(`${now.toTimeString().slice(0, 8)}.${Math.floor(now.getMilliseconds() / 100)}`, 28, height * 0.85);
        const turn = (now.getTime() % 2000) / 2000;
        context.beginPath();
        context.arc(width - 64 + 30 * Math.cos(turn * 2 * Math.PI), height * 0.85 + 30 * Math.sin(turn * 2 * Math.PI), 11, 0, 2 * Math.PI);
        context.fillStyle = '#74a5ff';
        context.fill();
    };
    paint();
    const timer = setInterval(paint, 40);
    const stream = canvas.captureStream(25);
    return {
        stream,
        painted: true,
        stop() {
            clearInterval(timer);
            stream.getTracks().forEach((track) => track.stop());
        },
    };
}
