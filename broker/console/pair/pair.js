// Redeems the code in this page's URL when the button is pressed.

const [button, problem] = [document.getElementById('pair'), document.getElementById('problem')];

button.addEventListener('click', async () => {
    [button.disabled, problem.hidden] = [true, true];
    const response = await fetch(location.pathname, { method: 'POST' }).catch(() => undefined);
    if (response?.ok) {
        return location.replace('/try');
    }
    if (response?.status === 410) {
        document.documentElement.dataset.state = 'gone';
        return undefined;
    }
    const answer = await response?.json().catch(() => ({}));
    problem.textContent = answer?.error ?? answer?.message ?? 'The broker does not answer. Is this device still in its network?';
    [button.disabled, problem.hidden] = [false, false];
    return undefined;
});
