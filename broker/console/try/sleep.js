// A camera that sleeps, which means that it is not connected until a hook of the broker calls it. Under --dev, the
// admin listener is the receiver of such a hook, and the page waits there for the call.

const AGAIN_MS = 2000;

export class Sleep {
    // `place` contains the switch, which calls `chosen`. `wake` starts the camera.
    constructor(place, { show, admin, chosen, wake }) {
        Object.assign(this, { place, show, admin, wake, times: 0 });
        this.choice = place.querySelector('input');
        this.choice.addEventListener('change', () => {
            if (this.choice.checked) {
                chosen();
            } else if (this.isAsleep) {
                this.end();
                show({ state: 'idle' });
            }
        });
    }

    get wanted() {
        return this.choice.checked;
    }

    // Shows the switch if there is a receiver. If no hook is configured for it, shows how to configure one.
    offer(settings) {
        this.place.hidden = !settings.sleeps;
        this.place.querySelector('details').hidden = settings.called;
        const lines = [
            '[[hook]]', 'name = "try"', `url = "${location.origin}/try/wake/{channel}"`, 'events = ["wake"]', 'channels = "*"',
            'secret_file = "try.secret"   # echo "whsec_$(openssl rand -base64 32)" > try.secret; chmod 600 try.secret',
        ];
        this.place.querySelector('pre').textContent = lines.join('\n');
    }

    // Falls asleep and resolves at once, so that a viewer can start.
    async begin(channel) {
        if (this.isAsleep && this.channel === channel) {
            return true;
        }
        this.end();
        [this.isAsleep, this.channel] = [true, channel];
        this.show({ state: 'asleep', waits: 'Asleep: it is not connected.' });
        this.listen(channel, this.times);
        return true;
    }

    async listen(channel, time) {
        while (this.isAsleep && this.times === time) {
            const found = await this.admin(`/try/wake/${encodeURIComponent(channel)}`).catch(() => ({ status: 0 }));
            if (!this.isAsleep || this.times !== time) {
                return;
            }
            if (found.status !== 200) {
                await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
            } else if (found.answer.attempt) {
                this.wake().catch(() => undefined);
            }
        }
    }

    end() {
        this.isAsleep = false;
        this.times += 1;
        this.show({ waits: undefined });
    }
}
