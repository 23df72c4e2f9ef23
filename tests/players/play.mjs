// play.mjs PLAYER URL [--browser chromium|firefox] [--seconds N] [--trace] [--recovers] [--screenshot FILE] [--lines N,N] [--kbps N,N]
//
// Plays a live URL in a headless browser and prints what a viewer would notice as one line of JSON. It measures, and leaves the verdict to
// the caller: exit 0 = measured, 1 = nothing played within 20 s, 2 = the harness itself failed.
// With --trace it prints a line of figures ten times a second instead, from the start on and whatever happens, until it is stopped; a line
// `offline` or `online` on its standard input takes the network from the page or gives it back (Chromium only).
// With --recovers the page tries again when its player has given up for lack of network, as a site's page does.
// With --lines the page picks the rung of so many lines, with --kbps the network gets so fast, each for an equal part of the time.
// CHROMIUM and FIREFOX name the browsers' executables.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import readline from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const FOLDER = path.dirname(fileURLToPath(import.meta.url));
const LIBRARIES = {
  native: null,
  hlsjs: 'hls.js/dist/hls.js',
  shaka: 'shaka-player/dist/shaka-player.compiled.js',
  videojs: 'video.js/dist/video.js',
  dashjs: 'dashjs/dist/modern/umd/dash.all.min.js',
  mpegtsjs: 'mpegts.js/dist/mpegts.js',
};
const STARTUP_MS_MAX = 20_000;
const SETTLE_MS = 1_000;
const CHROMIUM_ARGS = ['--no-sandbox', '--autoplay-policy=no-user-gesture-required', '--mute-audio', '--disable-gpu',
  '--disable-background-networking', '--disable-component-update'];
// Playing without a click and without a sound card; no page of its own about data reporting.
const FIREFOX_PREFERENCES = {
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  'media.cubeb.backend': 'null',
  'datareporting.policy.dataSubmissionEnabled': false,
};
// How the browsers name a request that the player itself gave up.
const ABORTED = ['net::ERR_ABORTED', 'NS_BINDING_ABORTED'];

const { values: options, positionals: [player, url] } = parseArgs({
  allowPositionals: true,
  options: {
    browser: { type: 'string', default: 'chromium' },
    seconds: { type: 'string', default: '15' },
    trace: { type: 'boolean' },
    recovers: { type: 'boolean', default: false },
    screenshot: { type: 'string' },
    lines: { type: 'string', default: '' },
    kbps: { type: 'string', default: '' },
  },
});
if (!(player in LIBRARIES) || !url || !['chromium', 'firefox'].includes(options.browser)) {
  console.error(`usage: play.mjs ${Object.keys(LIBRARIES).join('|')} URL [--browser chromium|firefox] [--seconds N] ...`);
  process.exit(2);
}

// Playwright wants a Firefox of its own, so the installed one is driven by Puppeteer; what is used of the two is the same.
async function launch() {
  if (options.browser === 'firefox') {
    const { default: puppeteer } = await import('puppeteer-core');
    const executablePath = process.env.FIREFOX || '/usr/bin/firefox-esr';
    return puppeteer.launch({ browser: 'firefox', executablePath, headless: true, extraPrefsFirefox: FIREFOX_PREFERENCES });
  }
  const { chromium } = await import('playwright-core');
  return chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', headless: true, args: CHROMIUM_ARGS });
}

// The page comes from another origin than the stream, as on a real site: so CORS is tested too.
function servePage() {
  const library = LIBRARIES[player];
  const files = {
    '/page.js': path.join(FOLDER, 'page.js'),
    '/library.js': library && path.join(FOLDER, 'node_modules', library),
  };
  const page = `<!doctype html><link rel=icon href="data:,"><video muted playsinline width=640 height=360></video>
    ${library ? '<script src=/library.js></script>' : ''}<script src=/page.js></script>`;
  const server = http.createServer((request, response) => {
    if (request.url === '/') return response.writeHead(200, { 'content-type': 'text/html' }).end(page);
    const file = files[request.url];
    if (!file) return response.writeHead(404).end();
    response.writeHead(200, { 'content-type': 'text/javascript' });
    return fs.createReadStream(file).pipe(response);
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

// Every answer of 400 and above, and every request that failed but for those that the player gave up itself.
function watchNetwork(page) {
  const seen = { requests: 0, failures: [] };
  page.on('response', (response) => {
    seen.requests += 1;
    if (response.status() >= 400) seen.failures.push(`${response.status()} ${response.url()}`);
  });
  page.on('requestfailed', (request) => {
    const reason = request.failure()?.errorText;
    if (!ABORTED.includes(reason)) seen.failures.push(`${reason} ${request.url()}`);
  });
  return seen;
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function measure(page) {
  const figures = () => page.evaluate(() => window.figures());
  // Audio alone has no size and no pictures.
  const isPlaying = (now) => now.startedMs !== null && now.position > 0 && (now.decodedFrames > 0 || now.width === 0);
  const deadline = Date.now() + STARTUP_MS_MAX;
  let first = await figures();
  while (!isPlaying(first) && first.fatal.length === 0 && Date.now() < deadline) {
    await sleep(50);
    first = await figures();
  }
  if (!isPlaying(first)) return { played: false, ...first };
  // Start-up has a figure of its own: pace counts from when the player has settled.
  await sleep(SETTLE_MS);
  first = await figures();
  const latencies = [];
  const heights = [];
  let last = first;
  const steps = script(page);
  for (const end = Date.now() + Number(options.seconds) * 1000; Date.now() < end && last.fatal.length === 0;) {
    const begun = 1 - (end - Date.now()) / (Number(options.seconds) * 1000);
    for (const step of steps.filter((step) => !step.done && step.at <= begun)) await step.run();
    await sleep(500);
    last = await figures();
    if (heights.at(-1) !== last.height) heights.push(last.height);
    if (Number.isFinite(last.latency)) latencies.push(last.latency);
  }
  return {
    played: true,
    ...last,
    advancedSeconds: last.position - first.position,
    wallSeconds: (last.wallMs - first.wallMs) / 1000,
    framesPerSecond: (last.decodedFrames - first.decodedFrames) / ((last.wallMs - first.wallMs) / 1000),
    heights,
    latencyMax: latencies.length ? Math.max(...latencies) : null,
  };
}

// What --lines and --kbps ask for, each with the part of the time that has passed by then.
function script(page) {
  const numbers = (text) => text.split(',').filter(Boolean).map(Number);
  const steps = (list, run) => list.map((value, index) => {
    const step = { at: index / list.length, done: false };
    step.run = async () => {
      step.done = true;
      await run(value);
    };
    return step;
  });
  // One session for all steps: of several the browser keeps to the first one's rate.
  let session;
  const throttle = async (kbps) => {
    session ??= await page.context().newCDPSession(page);
    await session.send('Network.enable');
    const downloadThroughput = kbps * 125;
    await session.send('Network.emulateNetworkConditions', { offline: false, latency: 20, downloadThroughput, uploadThroughput: -1 });
  };
  const picks = steps(numbers(options.lines), (lines) => page.evaluate((wanted) => window.pickLines(wanted), lines));
  return [...picks, ...steps(numbers(options.kbps), throttle)];
}

// For who wants to see an outage: the verdict needs the course of things, not their sum.
async function trace(page) {
  readline.createInterface({ input: process.stdin }).on('line', (line) => page.context().setOffline(line === 'offline'));
  for (const end = Date.now() + Number(options.seconds) * 1000; Date.now() < end; await sleep(100)) {
    console.log(JSON.stringify(await page.evaluate(() => window.figures())));
  }
}

let browser;
try {
  const server = await servePage();
  browser = await launch();
  const page = await browser.newPage();
  const network = watchNetwork(page);
  const console_ = [];
  page.on('console', (message) => message.type() === 'error' && console_.push(message.text()));
  page.on('pageerror', (error) => console_.push(error.message));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.evaluate(([name, address, recovers]) => window.startPlayer(name, address, recovers), [player, url, options.recovers]);
  if (options.trace) {
    await trace(page);
    await browser.close();
    process.exit(0);
  }
  const measured = await measure(page);
  if (options.screenshot) await page.screenshot({ path: options.screenshot });
  console.log(JSON.stringify({ player, browser: options.browser, url, ...measured, ...network, console: console_ }));
  await browser.close();
  process.exit(measured.played ? 0 : 1);
} catch (error) {
  console.error(String(error));
  await browser?.close();
  process.exit(2);
}
