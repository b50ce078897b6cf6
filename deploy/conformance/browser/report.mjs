// Reports of the load tester in Chromium, with scripts and without, in both widths and colours. The Rust test that runs this sets
// HELIOGRAPH_LOADGEN to the program. Pictures are in HELIOGRAPH_SCREENSHOTS.

import test from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { withBrowser } from './browser.mjs';

const timeout = 60_000;
const pictures = process.env.HELIOGRAPH_SCREENSHOTS;
const hostile = '</script><!--<script><img src=x onerror="document.title=1">';

// A run whose every text is `text`, and whose figures are these many times as large.
function run(text, factor) {
    const spread = { count: 4000 * factor, p50: 412, p90: 1_840 * factor, p99: 18_400, p999: 999_600, max: 125_000_000, hdr: null };
    const interval = (second) => ({ t_s: second, sessions: second === 3 ? null : 40 * factor, messages: 400, open: 7, p50_us: 400, p99_us: 9_000 * factor, errors: 1 });
    return {
        schema: 1, mode: 'sessions', target: text, started: text, duration_s: 150.5, ok: true, saturated: 'lag',
        arguments: { scenario: `a/${text}.toml`, rate: 40 * factor, arrival: 'poisson', hold: 1, [text]: text }, machine: { cpu: text, memory_bytes: 45_000 }, versions: { service: text },
        sessions: { scheduled: 1_234_567, completed: 4_000, failed: 0 }, connections: { opened: 9, failed: 3, peak: 12 }, messages: { sent: 40_000, received: 40_000, lost: 0 },
        latency_us: { connect: spread, setup: spread }, errors: { [text]: 3 }, request_ids: { [text]: text },
        cpu: { driver_s: 3.4, server_s: 12.3 * factor, driver_us_per_message: 85, server_us_per_message: 3_075 },
        memory: { driver_rss_bytes: 1_290_000_000, server_rss_bytes: 812 }, intervals: [1, 2, 3, 4, 5].map(interval),
    };
}

// The figures of a table by their row's name.
const figures = (page, table) => page.$$eval(`${table} tbody tr:not(.group)`, (rows) => rows.map((row) => [...row.children].map((cell) => cell.firstChild?.textContent)));

async function opened(browser, url, options) {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    const faults = [];
    page.on('pageerror', (error) => faults.push(error.stack));
    page.on('console', (message) => faults.push(message.text()));
    page.on('request', (request) => request.url() !== url && faults.push(request.url()));
    await page.goto(url);
    return { context, page, faults };
}

test('reports in a browser', { timeout }, async ({ signal }) => {
    const directory = await mkdtemp(join(tmpdir(), 'heliograph-'));
    try {
        const files = [join(directory, `${hostile.replaceAll('/', '')}.json`), join(directory, 'other.json')];
        await writeFile(files[0], JSON.stringify(run(hostile, 1)));
        await writeFile(files[1], JSON.stringify(run('other', 2)));
        await withBrowser(signal, async (_, browser) => {
            for (const [name, shown, plots] of [['one', files.slice(0, 1), 6], ['two', files, 7]]) {
                const html = join(directory, `${name}.html`);
                const ended = spawnSync(process.env.HELIOGRAPH_LOADGEN, ['report', ...shown, '--html', html], { encoding: 'utf8' });
                assert.equal(ended.stderr, '');
                const url = String(pathToFileURL(html));
                const plain = await opened(browser, url, { javaScriptEnabled: false, viewport: { width: 390, height: 800 } });
                const expected = await figures(plain.page, '#report table');
                assert.ok(expected.length > 20);
                await plain.context.close();
                for (const width of [1280, 390]) for (const colorScheme of ['light', 'dark']) {
                    const { context, page, faults } = await opened(browser, url, { viewport: { width, height: 800 }, colorScheme });
                    assert.deepEqual(await figures(page, 'details:last-of-type table'), expected, 'as without scripts');
                    assert.equal(await page.locator('figure.plot').count(), plots);
                    assert.equal(await page.locator('figure.plot path.line:not([d=""])').count() >= plots, true);
                    assert.equal(await page.locator('img').count(), 0);
                    assert.ok((await page.innerText('body')).includes(hostile), 'it is a text');
                    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, `${name} at ${width}`);
                    const frame = page.locator('.frame').first();
                    await frame.focus();
                    await page.keyboard.press('ArrowRight');
                    await page.keyboard.press('ArrowRight');
                    assert.match(await frame.locator('.tip').innerText(), /^2 s\n/);
                    const [before] = [await page.evaluate(() => getComputedStyle(document.body).backgroundColor)];
                    await page.click('#theme');
                    assert.notEqual(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), before);
                    await page.click('#theme');
                    assert.deepEqual(faults, []);
                    if (pictures) await page.screenshot({ path: join(pictures, `report-${name}-${width}-${colorScheme}.png`), fullPage: true });
                    await context.close();
                }
            }
        });
    } finally {
        await rm(directory, { recursive: true, force: true });
    }
});
