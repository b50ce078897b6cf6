// A device that was paired by a QR code is asked once whether it is the camera or the viewer. Also contains what phones
// need, such as a screen that stays on.

const get = (id) => document.getElementById(id);
const isPaired = document.documentElement.dataset.phone === 'paired';

// Phones cannot share their screen.
document.querySelector('[name=source][value=screen]').closest('label').hidden = !navigator.mediaDevices?.getDisplayMedia;

// Asks for the role of this device unless it is known. `start` starts a role, and `stop` ends both.
export function askRole(computer, role, { start, stop }) {
    if (!isPaired) {
        return;
    }
    get('choose-title').textContent = computer ? `Connected to ${computer}` : 'Connected to the computer';
    const choose = (name) => {
        get('choose').hidden = name !== undefined;
        document.body.dataset.alone = name ?? 'none';
        get('role').hidden = name === undefined;
        if (name) {
            start(name);
        }
    };
    get('be-camera').addEventListener('click', () => choose('camera'));
    get('be-viewer').addEventListener('click', () => choose('viewer'));
    get('role').addEventListener('click', () => {
        stop();
        choose(undefined);
    });
    if (role === undefined) {
        choose(undefined);
    }
}

// Offers the other camera of the device, if it may have one.
export function offerTurn(isShown, facing) {
    get('turn').hidden = !isShown || !(isPaired || matchMedia('(pointer: coarse)').matches);
    get('turn').textContent = facing === 'user' ? 'Back camera' : 'Front camera';
}

let lock;

// Keeps the screen on while something is running here. Browsers release the lock when the page is hidden.
export async function keepAwake(isWanted) {
    if (!isWanted) {
        lock?.release().catch(() => undefined);
        lock = undefined;
    } else if (lock === undefined || lock.released) {
        lock = await navigator.wakeLock?.request('screen').catch(() => undefined);
    }
}

// Fills the screen with one side. On an iPhone, only a video can fill the screen.
export function fillScreen(screen) {
    if (document.fullscreenElement) {
        document.exitFullscreen();
    } else if (screen.requestFullscreen) {
        screen.requestFullscreen().catch(() => undefined);
    } else {
        screen.querySelector('video').webkitEnterFullscreen?.();
    }
}
