// Formats numbers and times for people. Pure, except for the time zone.

/** Formats 1234567 as 1,234,567. Fractions get as many digits as are significant. */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString('en-US', { minimumFractionDigits: 0, maximumFractionDigits: digits });
}

/** Formats a count with its noun, as in "1 viewer" or "2 viewers". */
export function count(value, noun) {
  return `${number(value)} ${noun}${value === 1 ? '' : 's'}`;
}

/** Formats microseconds as µs, ms or s. */
export function micros(value) {
  if (value === null || value === undefined) return '–';
  if (value < 1000) return `${number(value)} µs`;
  return value < 1e6 ? `${number(value / 1e3)} ms` : `${number(value / 1e6)} s`;
}

/** Formats a duration that was measured in whole milliseconds. */
export function wholeMillis(value) {
  return value !== null && value !== undefined && value < 1.2 ? '≤ 1 ms' : millis(value);
}

/** Formats milliseconds as ms or s. */
export function millis(value) {
  return value === null || value === undefined ? '–' : micros(value * 1000);
}

/** Formats bytes as B, KiB or MiB. */
export function bytes(value) {
  if (value < 1024) return `${number(value)} B`;
  return value < 1024 * 1024 ? `${number(value / 1024)} KiB` : `${number(value / 1024 / 1024)} MiB`;
}

/** Formats seconds in at most two units, as in "3 h 12 min". */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  const whole = Math.floor(seconds);
  const parts = [[Math.floor(whole / 86400), 'd'], [Math.floor(whole / 3600) % 24, 'h'],
    [Math.floor(whole / 60) % 60, 'min'], [whole % 60, 's']];
  const first = parts.findIndex(([count]) => Number(count) > 0);
  return parts.slice(first, first + 2).filter(([count]) => Number(count) > 0)
    .map(([count, unit]) => `${count} ${unit}`).join(' ');
}

/**
 * Returns whether the master is connected, does not confirm messages, is awaited by a viewer that is connected or
 * waiting, or is absent, and since when. Pure.
 */
export function presence(state) {
  if (state?.master?.doubtfulSince) return { word: 'doubtful', look: 'warn', since: state.master.doubtfulSince };
  if (state?.master) return { word: 'connected', look: 'good', since: state.master.since };
  const first = state?.waiting?.[0];
  if (first) return { word: 'awaited', look: 'warn', since: first.since };
  return state?.viewers > 0 ? { word: 'awaited', look: 'warn', since: null } : { word: 'absent', look: 'none', since: null };
}

/** Returns how many seconds ago an RFC 3339 time was. */
export function ago(moment, now = Date.now()) {
  return (now - Date.parse(moment)) / 1000;
}

/** Whether times are shown in UTC rather than in the time zone of the browser. */
let isUtc = false;
export function useUtc(utc) {
  isUtc = utc;
}

/** Returns how many minutes the time zone of the pages is east of UTC. */
export const offset = (moment = Date.now()) => (isUtc ? 0 : -new Date(moment).getTimezoneOffset());

/** Returns the time zone of the pages, as in UTC, UTC+2 or UTC-3:30. */
export function zone(moment = Date.now()) {
  const minutes = offset(moment);
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  return minutes === 0 ? 'UTC' : `UTC${minutes > 0 ? '+' : '-'}${hours}${rest === 0 ? '' : `:${String(rest).padStart(2, '0')}`}`;
}

/** The formats used so far. @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

function inZone(moment, parts) {
  if (!Number.isFinite(moment)) return '–';
  const key = JSON.stringify([isUtc, parts]);
  const format = formats.get(key) ?? new Intl.DateTimeFormat('en-GB', { ...parts, timeZone: isUtc ? 'UTC' : undefined });
  formats.set(key, format);
  return format.format(moment);
}

/** Formats the time of day, with milliseconds if the order of events matters. */
export function clock(moment, fraction = false) {
  return inZone(moment, { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: fraction ? 3 : undefined });
}

/** Formats the time of day in hours and minutes. */
export const minuteOf = (moment) => inZone(moment, { hour: '2-digit', minute: '2-digit' });

/** Formats the day, as in "29 Nov". */
export const dayOf = (moment) => inZone(moment, { day: 'numeric', month: 'short' });

/** Formats the time of day, preceded by the day unless that is today. */
export function stamp(moment, fraction = false) {
  return `${dayOf(moment) === dayOf(Date.now()) ? '' : `${dayOf(moment)} `}${clock(moment, fraction)}`;
}

/** Returns what kind of thing a query looks for, judging by its form. */
export function kindOf(query) {
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(query)) return 'id';
  if (/^arn:[^:]*:kinesisvideo:/.test(query)) return 'arn';
  if (/^(AKIA|ASIA)[A-Z0-9]{8,}$/.test(query)) return 'key';
  if (/^\d{1,3}(\.\d{1,3}){3}(:\d+)?$/.test(query) || /^[0-9a-f:]*:[0-9a-f:]+$/i.test(query)) return 'remote';
  return 'name';
}

/** Returns the region, account and name in the ARN of a channel. */
export function partsOf(arn) {
  const [, , , region, account, rest] = arn.split(':');
  return { region, account, name: rest?.split('/')[1] ?? '' };
}

/** Returns the name of a channel, given its name or its ARN. */
export function channelName(text) {
  return text?.startsWith('arn:') ? partsOf(text).name : text ?? '';
}

/** Returns whether a text is a valid channel name. */
export function isName(text) {
  return /^[\w.-]{1,256}$/.test(text);
}

/**
 * Returns the path of a channel's document. Browsers take a name of one or two dots for a folder, so it gets a prefix.
 */
export function channelPath(name) {
  return `/channels/${encodeURIComponent(/^\.{1,2}$/.test(name) ? `name:${name}` : name)}`;
}

/** Returns the address of a channel's page. */
export function channelLink(arn, node) {
  const { region, account, name } = partsOf(arn);
  const home = node && region === node.region && account === node.accountId;
  return `#/channels/${encodeURIComponent(name)}${home ? '' : `?region=${region}&account=${account}`}`;
}

/** Returns an upper end for an axis: 1, 2 or 5 times a power of ten, and not less than the value. */
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((bound) => bound >= value * 0.999) ?? value;
}
