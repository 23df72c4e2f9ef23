// The words and numbers that people read, and the four formats with their addresses.

const channel = (id) => `/relay/channel/${encodeURIComponent(id)}`;

/** What the relay serves of every channel. `engine`: which player of engines.js plays it. `needsMse`: cannot play without MSE. */
export const FORMATS = [
  { id: 'hls-fmp4', name: 'HLS fMP4', engine: 'hls', needsMse: false, path: (id) => `${channel(id)}/index.m3u8?format=hls-fmp4` },
  { id: 'hls-ts', name: 'HLS TS', engine: 'hls', needsMse: false, path: (id) => `${channel(id)}/index.m3u8?format=hls-ts` },
  { id: 'dash', name: 'DASH', engine: 'dash', needsMse: true, path: (id) => `${channel(id)}/manifest.mpd` },
  { id: 'mpegts', name: 'MPEG-TS', engine: 'mpegts', needsMse: true, path: (id) => `${channel(id)}/stream.ts` },
];

export const formatOf = (id) => FORMATS.find((format) => format.id === id);

/** What is made of the channel, as the relay wants to be asked; '' is the source as it is. */
export const pathOf = (format, id, profile) => {
  const path = format.path(id);
  return profile ? `${path}${path.includes('?') ? '&' : '?'}profile=${encodeURIComponent(profile)}` : path;
};

/** Absolute, so that it can be pasted anywhere. */
export const addressOf = (format, id, profile = '') => location.origin + pathOf(format, id, profile);

/** "h264 360p 800k at 25 fps" of a rendition's name and its figures. */
export const madeText = ({ rendition, fps, speed }) => {
  const name = rendition.split('-').slice(1).join(' ');
  const slow = speed > 0 && speed < 1 ? ', too slow' : '';
  return /^v/.test(rendition) && fps > 0 ? `${name} at ${Math.round(fps)} fps${slow}` : `${name}${slow}`;
};

export const STATES = {
  idle: { name: 'Idle', hint: 'Nobody watches. The channel starts with its first viewer.' },
  starting: { name: 'Starting', hint: 'The origin is being reached.' },
  live: { name: 'Live', hint: 'Media flows from the origin.' },
  stalled: { name: 'Stalled', hint: 'Media flowed and stopped. The origin is tried again.' },
  failed: { name: 'Failed', hint: 'The origin cannot be reached.' },
};

const CODECS = {
  h264: 'H.264', h265: 'H.265', mpeg2: 'MPEG-2', av1: 'AV1', vp9: 'VP9', vp8: 'VP8',
  aac: 'AAC', ac3: 'AC-3', eac3: 'E-AC-3', mp2: 'MP2', mp3: 'MP3', opus: 'Opus', flac: 'FLAC',
  teletext: 'Teletext', dvbsub: 'DVB subtitles', scte35: 'SCTE-35', private: 'private data',
};

export const codecName = (codec) => CODECS[codec] ?? codec.toUpperCase().replaceAll('_', ' ');

/** "1280x720" or "48000 Hz, 2 ch", as people write it. */
export function detailText(detail) {
  const audio = /^(\d+) Hz, (\d+) ch$/.exec(detail);
  if (!audio) return detail.replace('x', '×');
  const channels = { 1: 'mono', 2: 'stereo', 6: '5.1', 8: '7.1' }[audio[2]] ?? `${audio[2]} ch`;
  return `${Number(audio[1]) / 1000} kHz ${channels}`;
}

export function trackText(track) {
  return [codecName(track.codec), detailText(track.detail), track.language].filter(Boolean).join(' ');
}

const languages = (() => {
  try {
    return new Intl.DisplayNames(navigator.languages, { type: 'language', fallback: 'none' });
  } catch {
    return null;
  }
})();

/** "German" for "deu", or the code itself. */
export function languageText(code) {
  try {
    return (code && languages?.of(code)) || code || 'unknown language';
  } catch {
    return code;
  }
}

export function bitrateText(bitsPerSecond) {
  if (!(bitsPerSecond > 0)) return '–';
  if (bitsPerSecond < 999_500) return `${Math.round(bitsPerSecond / 1000)} kb/s`;
  const mega = bitsPerSecond / 1e6;
  return mega < 999.5 ? `${mega.toFixed(mega < 99.95 ? 1 : 0)} Mb/s` : `${(mega / 1000).toFixed(1)} Gb/s`;
}

export const secondsText = (seconds) => (Number.isFinite(seconds) ? `${seconds.toFixed(1)} s` : '–');

export function ageText(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}

export const countText = (count) => count.toLocaleString('en');

export const countOf = (count, one, many = `${one}s`) => `${countText(count)} ${count === 1 ? one : many}`;

export const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
