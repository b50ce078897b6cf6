// deploy/FIRST-SESSION.md's JavaScript session as printed, except for the port: it calls `localhost`, whichever address that is here.

import test from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

test('the first session works as printed', { timeout: 60_000 }, async (t) => {
    const page = readFileSync(new URL('../../FIRST-SESSION.md', import.meta.url), 'utf8');
    const [, script] = page.match(/^`session\/session\.cjs`:\n\n```js\n([^]*?)^```$/m);
    const [, expected] = page.match(/node session\/session\.cjs\n```\n\n```text\n([^]*?)^```$/m);
    const { port } = new URL(process.env.HELIOGRAPH_HTTPS);
    assert.equal(script.split('https://localhost:8443').length, 2);
    const folder = mkdtempSync(join(tmpdir(), 'heliograph-readme-'));
    t.after(() => rmSync(folder, { recursive: true }));
    symlinkSync(join(process.env.HELIOGRAPH_CLIENTS, 'js/node_modules'), join(folder, 'node_modules'));
    writeFileSync(join(folder, 'session.cjs'), script.replace(':8443', `:${port}`));
    const child = spawn(process.execPath, ['session.cjs'], { cwd: folder });
    let [output, errors] = ['', ''];
    child.stdout.on('data', (text) => (output += text));
    child.stderr.on('data', (text) => (errors += text));
    const code = await new Promise((resolve) => child.once('close', resolve));
    assert.equal(code, 0, output + errors);
    const lines = (text) => text.trim().split('\n').sort();
    assert.deepEqual(lines(output), lines(expected));
});
