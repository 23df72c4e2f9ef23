// What this browser can decode of a channel, and why not in words.

import { MediaSourceType } from './engines.js';
import { codecName } from './text.js';

/** Formats whose tracks come in a transport stream. */
const MUXED = ['hls-ts', 'mpegts'];

/** Whether `track` (of channels.json) plays here. A track whose parameters are not known yet is given the benefit of the doubt. */
function decodes(track, formatId) {
  if (!track.rfc6381) return true;
  const types = [`${track.kind}/mp4; codecs="${track.rfc6381}"`];
  // Out of a transport stream MPEG audio goes to the decoder bare: Chromium knows MP2 so, and not in MP4.
  if (/^mp[23]$/.test(track.codec) && MUXED.includes(formatId)) types.push('audio/mpeg');
  if (MediaSourceType) return types.some((type) => MediaSourceType.isTypeSupported(type));
  return types.some((type) => document.createElement('video').canPlayType(type) !== '');
}

/**
 * { block, note, hasAudio }: why the channel cannot play here in this format, and what will be missing when it does, both null for no
 * reason; whether any of its sound can be decoded.
 */
export function judge(tracks = [], format) {
  const of = (kind) => tracks.filter((track) => track.kind === kind);
  const none = (kind, formatId = format.id) => of(kind).length > 0 && !of(kind).some((track) => decodes(track, formatId));
  const cannot = (kind) => `This browser cannot decode ${of(kind)[0].rfc6381} (${codecName(of(kind)[0].codec)})`;
  if (none('video')) return { block: `${cannot('video')}.`, note: null, hasAudio: true };
  if (!none('audio')) return { block: null, note: null, hasAudio: true };
  const isHeardMuxed = !none('audio', MUXED[0]);
  const elsewhere = isHeardMuxed ? 'HLS TS and MPEG-TS play it with sound.' : 'VLC plays it with sound.';
  if (of('video').length === 0) return { block: `${cannot('audio')}${isHeardMuxed ? ` in ${format.name}` : ''}.`, note: null, hasAudio: false };
  // mpegts.js leaves no track out.
  if (format.id === 'mpegts') return { block: `${cannot('audio')}. HLS and DASH play the picture alone.`, note: null, hasAudio: false };
  return { block: null, note: `${cannot('audio')}${isHeardMuxed ? ` in ${format.name}` : ''}: picture without sound. ${elsewhere}`, hasAudio: false };
}
