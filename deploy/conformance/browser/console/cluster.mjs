// The page of a cluster of three nodes, on a desk and on a phone: what each node is, its links and its history, until
// one is frozen and ends. See pages.mjs for the environment.
//
// HELIOGRAPH_ENDS         the process that this script freezes and ends: the third node's

import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { admin, open, pictures, withBrowser } from './pages.mjs';

test('the console shows the cluster', { timeout: 120_000 }, () => withBrowser(async (browser) => {
    const page = await open(browser);
    const state = (name) => page.locator('tbody tr', { has: page.getByRole('rowheader', { name, exact: true }) }).locator('.pill');
    await page.goto(admin);
    await page.getByRole('link', { name: 'Cluster', exact: true }).click();
    await page.getByRole('heading', { name: 'Cluster test' }).waitFor();
    await state('n1').getByText('this node').waitFor();
    await state('n2').getByText('answers').waitFor();
    await state('n3').getByText('answers').waitFor();
    await state('to n2').getByText('open').waitFor();
    assert.match(await page.locator('.figure', { hasText: 'Slots' }).innerText(), /of 4,096/);
    await page.locator('.figure', { hasText: 'etcd' }).getByText('up', { exact: true }).waitFor();
    await page.locator('tbody tr', { has: page.getByRole('rowheader', { name: 'n2', exact: true }) }).getByText(/^\d+\.\d+\.\d+ \S*, inner \d+$/).waitFor();
    await page.getByRole('img', { name: /^Slots by owner: n1 [\d,]+, n2 [\d,]+, n3 [\d,]+$/ }).waitFor();
    for (const [width, colour] of [[1280, 'light'], [390, 'dark']]) {
        await page.emulateMedia({ colorScheme: colour });
        await page.setViewportSize({ width, height: 844 });
        assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `too wide at ${width}`);
        if (pictures) await page.screenshot({ path: join(pictures, `cluster-${width}.png`), fullPage: true });
    }
    // A node that is frozen is named: by the history of all nodes, in which one can be chosen, and by the page of the cluster.
    await page.getByRole('link', { name: 'History', exact: true }).click();
    await page.locator('.chart path[d^=M]').first().waitFor({ state: 'attached' });
    assert.deepEqual(await page.getByLabel('Nodes').locator('option').allTextContents(), ['all nodes', 'n1', 'n2', 'n3']);
    const third = Number(process.env.HELIOGRAPH_ENDS);
    process.kill(third, 'SIGSTOP');
    await page.getByText(/ Without an answer: n3\.$/).waitFor();
    await page.getByLabel('Nodes').selectOption('n2');
    await page.waitForURL(/node=n2/);
    if (pictures) await page.screenshot({ path: join(pictures, 'cluster-history.png'), fullPage: true });
    await page.getByRole('link', { name: 'Cluster', exact: true }).click();
    await page.getByText('Without an answer: n3.', { exact: true }).waitFor();
    await state('n3').getByText(/^(silent|not registered)$/).waitFor();
    if (pictures) await page.screenshot({ path: join(pictures, 'cluster-frozen.png'), fullPage: true });
    process.kill(third, 'SIGKILL');
    await state('n3').getByText(/^(silent|not registered)$/).waitFor();
    await page.innocent();
}));
