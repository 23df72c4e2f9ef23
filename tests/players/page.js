// Runs inside the page: starts one player on the video element and counts what a viewer would notice.

const PLAYERS = {
  native: (video, url) => {
    video.src = url;
    return { play: () => video.play(), latency: () => null };
  },

  hlsjs: (video, url, seen, recovers) => {
    const hls = new Hls({ lowLatencyMode: false });
    hls.on(Hls.Events.ERROR, (_, data) => {
      const text = [data.type, data.details, data.error && data.error.message].filter(Boolean).join(' ');
      // What hls.js's own documentation tells a page to do when its retries are used up.
      const goesOn = recovers && data.fatal && data.type === Hls.ErrorTypes.NETWORK_ERROR;
      if (goesOn) setTimeout(() => hls.startLoad(), RECOVERY_MS);
      (data.fatal && !goesOn ? seen.fatal : seen.errors).push(text);
    });
    const parsed = new Promise((resolve) => hls.on(Hls.Events.MANIFEST_PARSED, resolve));
    hls.loadSource(url);
    hls.attachMedia(video);
    const pick = (lines) => { hls.nextLevel = hls.levels.findIndex((level) => level.height === lines); };
    return { play: () => parsed.then(() => video.play()), latency: () => hls.latency, pick };
  },

  shaka: (video, url, seen) => {
    shaka.polyfill.installAll();
    const player = new shaka.Player();
    const note = (error) => {
      // Of a live stream it tries what the network refused again by itself, after it has told the page that the error is critical.
      const goesOn = player.isLive() && error.category === shaka.util.Error.Category.NETWORK;
      const list = error.severity === shaka.util.Error.Severity.CRITICAL && !goesOn ? seen.fatal : seen.errors;
      list.push(`shaka ${error.code} ${JSON.stringify(error.data)}`.slice(0, 300));
    };
    player.addEventListener('error', (event) => note(event.detail));
    const play = async () => {
      await player.attach(video);
      await player.load(url).catch(note);
      await video.play();
    };
    const pick = (lines) => {
      player.configure('abr.enabled', false);
      player.selectVariantTrack(player.getVariantTracks().find((track) => track.height === lines));
    };
    return { play, latency: () => player.getStats().liveLatency, pick };
  },

  videojs: (video, url, seen) => {
    // With `overrideNative` it plays through MSE in Chromium as it does in Firefox; the native way has a player of its own above.
    const html5 = { vhs: { overrideNative: true }, nativeAudioTracks: false, nativeVideoTracks: false };
    const player = videojs(video, { liveui: true, html5 });
    player.on('error', () => seen.fatal.push(`video.js ${player.error().code} ${player.error().message}`));
    player.src({ src: url, type: 'application/vnd.apple.mpegurl' });
    return { play: () => player.play(), latency: () => null };
  },

  dashjs: (video, url, seen) => {
    const player = dashjs.MediaPlayer().create();
    player.updateSettings({ debug: { logLevel: dashjs.Debug.LOG_LEVEL_NONE } });
    const note = ({ error }) => seen.fatal.push(`dash.js ${error?.code} ${error?.message}`);
    player.on(dashjs.MediaPlayer.events.ERROR, note);
    player.on(dashjs.MediaPlayer.events.PLAYBACK_ERROR, note);
    player.initialize(video, url, true);
    return { play: async () => player.play(), latency: () => player.getCurrentLiveLatency() };
  },

  mpegtsjs: (video, url, seen) => {
    const player = mpegts.createPlayer({ type: 'mpegts', isLive: true, url }, { liveBufferLatencyChasing: false });
    player.on(mpegts.Events.ERROR, (type, details) => seen.fatal.push(`${type} ${details}`));
    player.attachMediaElement(video);
    player.load();
    const buffered = () => (video.buffered.length ? video.buffered.end(video.buffered.length - 1) : video.currentTime);
    return { play: () => video.play(), latency: () => buffered() - video.currentTime };
  },
};

// A rebuffer: the player waits for data for at least this long, milliseconds. Shorter waits are counted as `waits`: a player that begins
// on the first segment of a channel gets each further one just as its buffer runs dry, and a wait of a few pictures is not noticed.
const REBUFFER_MS = 250;
// A freeze: the clock of the video stands still for longer than this, milliseconds.
const FREEZE_MS = 500;
// After a failure that a page must answer, it waits for this long before it tries again, milliseconds.
const RECOVERY_MS = 1000;

window.startPlayer = (name, url, recovers) => {
  const video = document.querySelector('video');
  const seen = { startedMs: null, waits: 0, rebuffers: 0, freezes: 0, seeks: 0, backwardFrames: 0, errors: [], fatal: [] };
  const begin = performance.now();
  const afterStart = (count) => () => seen.startedMs !== null && count();
  video.addEventListener('playing', () => { seen.startedMs ??= performance.now() - begin; });
  watchWaits(video, seen);
  video.addEventListener('seeking', afterStart(() => { seen.seeks += 1; }));
  video.addEventListener('error', () => seen.fatal.push(`video error ${video.error.code} ${video.error.message}`));
  watchFrames(video, seen);
  watchClock(video, seen);
  const player = PLAYERS[name](video, url, seen, recovers);
  player.play().catch((error) => seen.errors.push(`play() ${error.message}`));
  window.pickLines = (lines) => player.pick(lines);
  window.figures = () => ({ ...seen, ...videoFigures(video), latency: player.latency() });
};

const watchWaits = (video, seen) => {
  let [position, counted, check] = [0, false, null];
  video.addEventListener('waiting', () => {
    if (seen.startedMs === null) return;
    seen.waits += 1;
    [position, counted] = [video.currentTime, false];
    clearTimeout(check);
    check = setTimeout(() => {
      if (!counted && video.currentTime === position) seen.rebuffers += 1;
      counted = true;
    }, REBUFFER_MS);
  });
};

const watchFrames = (video, seen) => {
  let last = -Infinity;
  const frame = (_, { mediaTime }) => {
    if (mediaTime < last) seen.backwardFrames += 1;
    last = mediaTime;
    video.requestVideoFrameCallback(frame);
  };
  video.requestVideoFrameCallback(frame);
};

const watchClock = (video, seen) => {
  let [position, since, frozen] = [0, performance.now(), false];
  setInterval(() => {
    const now = performance.now();
    if (video.currentTime !== position) {
      [position, since, frozen] = [video.currentTime, now, false];
    } else if (seen.startedMs !== null && !frozen && now - since > FREEZE_MS) {
      frozen = true;
      seen.freezes += 1;
    }
  }, 50);
};

const videoFigures = (video) => {
  const quality = video.getVideoPlaybackQuality();
  const ranges = Array.from({ length: video.buffered.length }, (_, i) => [video.buffered.start(i), video.buffered.end(i)]);
  return {
    wallMs: performance.now(),
    position: video.currentTime,
    decodedFrames: quality.totalVideoFrames,
    droppedFrames: quality.droppedVideoFrames,
    // Firefox says whether there is audio, Chromium how much of it was decoded.
    hasAudio: video.mozHasAudio ?? video.webkitAudioDecodedByteCount > 0,
    ranges,
    width: video.videoWidth,
    height: video.videoHeight,
  };
};
