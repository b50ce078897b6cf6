// One test as a user of the packages writes it, without an SDK.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { start } from '@heliograph/testing';

test('a channel is created', async () => {
    const broker = await start();
    try {
        const body = JSON.stringify({ ChannelName: 'porch' });
        const answer = await fetch(`${broker.endpoint}/createSignalingChannel`, { method: 'POST', body });
        assert.match((await answer.json()).ChannelARN, /:channel\/porch\//);
    } finally {
        await broker.stop();
    }
});
