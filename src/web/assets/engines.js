// One function per player library. Each begins to play `url` on `video` and gives what the player panel needs of it:
//   { latency(nowMs): seconds behind the origin or null, audio(): [{ label, selected, select() }], destroy(), ready? }
// `ready` is a promise kept once playback may begin; without one it may at once.
// `on.fatal({ kind: 'network' | 'media' | 'codec', status? })` is called when it cannot go on by itself.
//
// Latency compares the wall clock of the picture with the relay's clock: the relay's output time is anchored to it in every format.

import { languageText } from './text.js';

const loading = new Map();

/** Loads a library once, when a format first needs it, and gives its global. */
function library(file, name) {
  if (!loading.has(file)) {
    loading.set(file, new Promise((resolve, reject) => {
      const script = document.createElement('script');
      script.src = `/web/${file}`;
      script.onload = () => resolve(window[name]);
      script.onerror = () => {
        loading.delete(file);
        script.remove();
        reject(new Error(`${file} could not be loaded`));
      };
      document.head.append(script);
    }));
  }
  return loading.get(file);
}

/** MSE, or what iPhones have instead. */
export const MediaSourceType = window.ManagedMediaSource ?? window.MediaSource;

/** Segments that an HLS playlist lists before playback begins. */
const SEGMENTS_TO_BEGIN = 2;

async function hls(video, url, on, hasAudio) {
  const Hls = MediaSourceType && await library('hls.min.js', 'Hls');
  if (!Hls?.isSupported()) return native(video, url, on);
  const { playlistLoadPolicy, fragLoadPolicy } = Hls.DefaultConfig;
  const player = new Hls({
    // A worker would be a script from a blob, which the page's policy forbids.
    enableWorker: false,
    lowLatencyMode: false,
    backBufferLength: 30,
    // Two target durations behind the newest segment: its default is three, where our segments are half as long as the target at most times.
    liveSyncDurationCount: 2,
    // While the relay restarts there is still something to play, so its requests are repeated for as long.
    playlistLoadPolicy: patient(playlistLoadPolicy),
    fragLoadPolicy: patient(fragLoadPolicy),
    pLoader: playlistLoader(Hls, hasAudio),
  });
  let recoveredMs = -Infinity;
  player.on(Hls.Events.ERROR, (_, data) => {
    if (!data.fatal) return;
    if (data.details === Hls.ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR || data.details === Hls.ErrorDetails.BUFFER_ADD_CODEC_ERROR) {
      on.fatal({ kind: 'codec' });
    } else if (data.type === Hls.ErrorTypes.MEDIA_ERROR && performance.now() - recoveredMs > 10_000) {
      recoveredMs = performance.now();
      player.recoverMediaError();
    } else {
      on.fatal({ kind: data.type === Hls.ErrorTypes.NETWORK_ERROR ? 'network' : 'media', status: data.response?.code });
    }
  });
  // On the one segment that a channel lists when it was just opened, playback would run dry at the first reload that comes a little late.
  const ready = new Promise((resolve) => {
    player.on(Hls.Events.LEVEL_LOADED, (_, { details }) => (!details.live || details.fragments.length >= SEGMENTS_TO_BEGIN) && resolve());
  });
  player.loadSource(url);
  player.attachMedia(video);
  return {
    ready,
    // From EXT-X-PROGRAM-DATE-TIME; without it what the player estimates from the playlist.
    latency: (nowMs) => (player.playingDate ? (nowMs - player.playingDate.getTime()) / 1000 : player.latency || null),
    audio: () => player.audioTracks.map((track, index) => ({
      label: trackLabel(track.lang, track.name),
      selected: player.audioTrack === index,
      select: () => { player.audioTrack = index; },
    })),
    destroy: () => player.destroy(),
  };
}

/** A load policy of hls.js that repeats failed requests for some 20 s. */
function patient(policy) {
  const errorRetry = { ...policy.default.errorRetry, maxNumRetry: 12, retryDelayMs: 500, maxRetryDelayMs: 2_000 };
  return { default: { ...policy.default, errorRetry } };
}

/**
 * A loader that takes out of the multivariant playlist what this browser cannot decode. hls.js refuses a variant as a whole when one of
 * its CODECS is unknown; a transport stream with AAC and AC-3 plays all the same, and one with AC-3 alone plays its picture.
 */
function playlistLoader(Hls, hasAudio) {
  return class extends Hls.DefaultConfig.loader {
    load(context, config, callbacks) {
      const onSuccess = (response, ...rest) => {
        if (context.type === 'manifest' && typeof response.data === 'string') response.data = decodable(response.data, hasAudio);
        callbacks.onSuccess(response, ...rest);
      };
      super.load(context, config, { ...callbacks, onSuccess });
    }
  };
}

function decodable(playlist, hasAudio) {
  const known = (codec) => MediaSourceType.isTypeSupported(`video/mp4; codecs="${codec}"`);
  const lines = playlist.split('\n').filter((line) => hasAudio || !line.startsWith('#EXT-X-MEDIA:TYPE=AUDIO'));
  const codecs = (whole, before, list) => {
    const left = list.split(',').map((codec) => codec.trim()).filter(known);
    return left.length ? `${before}CODECS="${left.join(',')}"` : whole;
  };
  return lines.map((line) => {
    if (!line.startsWith('#EXT-X-STREAM-INF:')) return line;
    const heard = hasAudio ? line : line.replace(/,AUDIO="[^"]*"/, '');
    // A group of renditions is chosen by its codec, so with one the list is left as it is.
    return /,AUDIO="/.test(heard) ? heard : heard.replace(/([:,])CODECS="([^"]*)"/, codecs);
  }).join('\n');
}

/** The browser's own HLS player: iPhones before iOS 17.1 have nothing else. */
function native(video, url, on) {
  const failed = () => on.fatal({ kind: video.error?.code === MediaError.MEDIA_ERR_NETWORK ? 'network' : 'media' });
  video.addEventListener('error', failed);
  video.src = url;
  return {
    latency: (nowMs) => {
      const start = video.getStartDate?.().getTime();
      return start > 0 ? (nowMs - start) / 1000 - video.currentTime : null;
    },
    audio: () => Array.from(video.audioTracks ?? [], (track) => ({
      label: trackLabel(track.language, track.label),
      selected: track.enabled,
      select: () => Array.from(video.audioTracks).forEach((other) => { other.enabled = other === track; }),
    })),
    destroy: () => {
      video.removeEventListener('error', failed);
      video.removeAttribute('src');
      video.load();
    },
  };
}

async function dash(video, url, on, hasAudio) {
  const shaka = await library('shaka-player.dash-es2021.js', 'shaka');
  shaka.polyfill.installAll();
  const player = new shaka.Player();
  const failed = (error) => {
    const { Category, Severity } = shaka.util.Error;
    if (error.severity !== Severity.CRITICAL || error.code === shaka.util.Error.Code.LOAD_INTERRUPTED) return;
    const isCodec = error.code === shaka.util.Error.Code.CONTENT_UNSUPPORTED_BY_BROWSER;
    const kind = isCodec ? 'codec' : error.category === Category.NETWORK ? 'network' : 'media';
    on.fatal({ kind, status: error.code === shaka.util.Error.Code.BAD_HTTP_STATUS ? error.data?.[1] : undefined });
  };
  player.addEventListener('error', (event) => failed(event.detail));
  player.configure({ streaming: { bufferBehind: 30 }, manifest: { disableAudio: !hasAudio } });
  // Not awaited: who plays something else meanwhile can destroy this one at once.
  player.attach(video).then(() => player.load(url)).catch((error) => failed(error));
  return {
    latency: (nowMs) => {
      const date = player.isLive() ? player.getPlayheadTimeAsDate() : null;
      return date ? (nowMs - date.getTime()) / 1000 : null;
    },
    audio: () => player.getAudioTracks().map((track) => ({
      label: trackLabel(track.language, track.label),
      selected: track.active,
      select: () => player.selectAudioTrack(track),
    })),
    destroy: () => player.destroy().catch(() => {}),
  };
}

async function mpegts(video, url, on) {
  const library_ = await library('mpegts.js', 'mpegts');
  if (!library_.isSupported()) {
    on.fatal({ kind: 'codec' });
    return null;
  }
  // It logs every broken frame of a source; the page shows errors itself.
  Object.assign(library_.LoggingControl, { enableVerbose: false, enableDebug: false, enableInfo: false, enableWarn: false, enableError: false });
  const player = library_.createPlayer({ type: 'mpegts', isLive: true, url }, {
    enableWorker: false,
    enableStashBuffer: false,
    lazyLoad: false,
    autoCleanupSourceBuffer: true,
    // Who fell behind catches up by playing a little faster, and not by a jump.
    liveSync: true,
    liveSyncMaxLatency: 3,
    liveSyncTargetLatency: 1.5,
    liveSyncPlaybackRate: 1.1,
  });
  player.on(library_.Events.ERROR, (type, _, info) => {
    on.fatal({ kind: type === library_.ErrorTypes.NETWORK_ERROR ? 'network' : 'media', status: info?.code > 0 ? info.code : undefined });
  });
  // The relay ended the stream: its session is over, or it restarts.
  player.on(library_.Events.LOADING_COMPLETE, () => on.fatal({ kind: 'network' }));
  player.attachMediaElement(video);
  player.load();
  return {
    latency: (nowMs) => {
      const baseMs = timestampBaseMs(player);
      return baseMs === null ? null : wrapped(nowMs - baseMs - video.currentTime * 1000) / 1000;
    },
    audio: () => [],
    destroy: () => player.destroy(),
  };
}

/** The first time stamp of the stream, which mpegts.js takes off all others, milliseconds. It is no public interface: null where it went. */
function timestampBaseMs(player) {
  const base = player._player_engine?._transmuxer?._controller?._remuxer?.getTimestampBase?.();
  return Number.isFinite(base) && base > 0 ? base : null;
}

/** Milliseconds modulo the 33-bit clock of MPEG-TS, between minus and plus half of it. */
function wrapped(ms) {
  const period = 2 ** 33 / 90;
  return ms - period * Math.round(ms / period);
}

function trackLabel(language, name) {
  const text = languageText(language === 'und' ? '' : language);
  return name && name !== language && name !== text ? `${text} (${name})` : text;
}

export const ENGINES = { hls, dash, mpegts };
