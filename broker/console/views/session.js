// `#/session/SHARD/CONNECTION`: leads to the trace of a viewer. Exemplars of the metrics name sessions in this way.

import { get } from '../api.js';
import { h, put } from '../dom.js';

export function session(root, { name, node }) {
  const notice = h('p', { class: 'notice' }, 'Loading …');
  root.append(h('h1', {}, 'Session'), notice);
  let ended = false;

  async function load() {
    const { status, data } = await get(`/sessions/${name.split('/').map(encodeURIComponent).join('/')}`);
    if (ended) return;
    if (status !== 200) { put(notice, data.error ?? `status ${status}`); return; }
    const place = new URLSearchParams();
    const home = node();
    if (home === null || data.region !== home.region || data.account !== home.accountId) {
      place.set('region', data.region);
      place.set('account', data.account);
    }
    if (data.clientId !== null) place.set('client', data.clientId);
    location.replace(`#/channels/${encodeURIComponent(data.channel)}${place.size > 0 ? `?${place}` : ''}`);
  }

  load();
  return { end() { ended = true; } };
}
