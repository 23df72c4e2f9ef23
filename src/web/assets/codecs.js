// What this browser can decode of a channel, and why not in words.

import { MediaSourceType } from './engines.js';
import { codecName } from './text.js';

/** Whether `track` (of channels.json) plays here. A track whose parameters are not known yet is given the benefit of the doubt. */
function decodes(track) {
  if (!track.rfc6381) return true;
  const types = [`${track.kind}/mp4; codecs="${track.rfc6381}"`];
  // MP3 in a transport stream goes to the decoder bare.
  if (track.codec === 'mp3') types.push('audio/mpeg');
  if (MediaSourceType) return types.some((type) => MediaSourceType.isTypeSupported(type));
  return types.some((type) => document.createElement('video').canPlayType(type) !== '');
}

/**
 * { block, note, hasAudio }: why the channel cannot play here in this format, and what will be missing when it does, both null for no
 * reason; whether any of its sound can be decoded.
 */
export function judge(tracks = [], format) {
  const of = (kind) => tracks.filter((track) => track.kind === kind);
  const bad = (kind) => of(kind).filter((track) => !decodes(track));
  const none = (kind) => of(kind).length > 0 && bad(kind).length === of(kind).length;
  const cannot = (kind) => {
    const track = bad(kind)[0];
    return `This browser cannot decode ${track.rfc6381} (${codecName(track.codec)}).`;
  };
  if (none('video')) return { block: cannot('video'), note: null, hasAudio: true };
  if (of('video').length === 0 && none('audio')) return { block: cannot('audio'), note: null, hasAudio: true };
  // mpegts.js leaves no track out, but for MPEG audio, whose decoder takes what it can.
  if (none('audio') && format.id === 'mpegts' && of('audio').every((track) => !/^mp[23]$/.test(track.codec))) {
    return { block: `${cannot('audio')} HLS and DASH play the picture alone.`, note: null, hasAudio: false };
  }
  if (none('audio')) return { block: null, note: `${cannot('audio')} The picture plays without sound; VLC plays both.`, hasAudio: false };
  return { block: null, note: null, hasAudio: true };
}
