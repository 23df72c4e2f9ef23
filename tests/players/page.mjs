// page.mjs --binary MILLRACE [--formats hls-ts,mpegts] [--seconds N] [--screenshots FOLDER] [--base URL]
//
// The page at `/` in headless Chromium: starts `millrace demo`, opens the page wide and narrow, plays each format with one click, and holds
// it to its promises: no console error, nothing against its policy, no request elsewhere. Prints a line `PASS|FAIL|SKIP name  figures` each
// and exits 1 when one failed. CHROMIUM names the browser's executable. With --base it opens a page that is served already, whose relay
// has the channels demo-1 to demo-3 and `broken`.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: {
    binary: { type: 'string' },
    base: { type: 'string' },
    formats: { type: 'string', default: 'hls-fmp4,hls-ts,dash,mpegts' },
    seconds: { type: 'string', default: '8' },
    screenshots: { type: 'string' },
  },
});
if (!options.binary && !options.base) {
  console.error('usage: page.mjs --binary MILLRACE [--formats LIST] [--seconds N] [--screenshots FOLDER] [--base URL]');
  process.exit(2);
}
const FORMATS = options.formats.split(',').filter(Boolean);
const SECONDS = Number(options.seconds);
const START_MS_MAX = 20_000;
/** What playing a format must have asked for, so that no format passes for another. */
const ASKED = {
  'hls-fmp4': [/\.m3u8/, /\.m4s$/],
  'hls-ts': [/\.m3u8/, /\/ts\/\d+\.ts$/],
  dash: [/\.mpd/, /\.m4s$/],
  mpegts: [/\/stream\.ts$/],
};
/** Of the wall clock that the video must advance by; start-up is not counted. check.py asks for more, with less on the screen. */
const PACE_MIN = 0.9;
const LATENCY_S_MAX = 20;
const WIDE = { width: 1280, height: 800 };
const NARROW = { width: 360, height: 740 };
const BROWSER_ARGS = ['--no-sandbox', '--autoplay-policy=no-user-gesture-required', '--mute-audio', '--disable-gpu',
  '--disable-background-networking', '--disable-component-update'];
// Port 9 of this host answers nobody. The name is one that has to be cut somewhere.
// Nothing is made for a browser that does not decode it: the page has to say so.
const BROKEN = `[transcode]
auto = "off"
[[channel]]
id = "broken"
name = "A channel whose name is far too long for any card, and whose origin is not there"
group = "Out of order"
origins = ["http://127.0.0.1:9/secret-path.ts"]
`;

let failed = false;

/** Runs one check. What it throws is its reason to fail; what it gives are its figures. */
async function check(name, run) {
  try {
    tell('PASS', name, await run());
  } catch (error) {
    failed = true;
    tell('FAIL', name, String(error.message ?? error).split('\n').slice(0, 3).join(' '));
  }
}

const tell = (word, name, figures = '') => console.log(`${word} ${name.padEnd(42)} ${figures}`.trimEnd());

function require(holds, why) {
  if (!holds) throw new Error(why);
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Polls until `probe` gives something truthy, and gives that. */
async function eventually(what, probe, limitMs = START_MS_MAX) {
  for (const end = Date.now() + limitMs; Date.now() < end; await sleep(100)) {
    const found = await probe();
    if (found) return found;
  }
  throw new Error(`${what} did not come within ${limitMs / 1000} s`);
}

async function startDemo() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-page-'));
  const config = path.join(folder, 'page.toml');
  fs.writeFileSync(config, BROKEN);
  const child = spawn(options.binary, ['demo', '--listen', '127.0.0.1:0', '--channels', '3', '--config', config], { stdio: ['ignore', 'pipe', 'ignore'] });
  const listening = new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => line.startsWith('LISTENING ') && resolve(line.split(' ')[1]));
    child.on('error', reject);
    child.on('exit', (code) => reject(new Error(`millrace demo ended with code ${code}`)));
  });
  listening.catch(() => {});
  return {
    base: `http://${await listening}`,
    stop: () => {
      child.kill();
      fs.rmSync(folder, { recursive: true });
    },
  };
}

/** A tab, and everything it did that a page must not do. */
async function open(context, base, prepare = async () => {}) {
  const page = await context.newPage();
  const wrongs = [];
  page.on('console', (message) => message.type() === 'error' && wrongs.push(`console: ${message.text()}`));
  page.on('pageerror', (error) => wrongs.push(`exception: ${error.message}`));
  page.on('request', (request) => {
    if (!request.url().startsWith(`${base}/`) && !/^(blob|data):/.test(request.url())) wrongs.push(`request to ${request.url()}`);
  });
  page.on('response', (response) => response.status() >= 400 && wrongs.push(`${response.status()} ${response.url()}`));
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  await prepare(page);
  await page.goto(`${base}/`);
  await page.waitForSelector('.card', { timeout: START_MS_MAX });
  return { page, wrongs: async () => [...wrongs, ...(await page.evaluate(() => window.violations)).map((text) => `policy: ${text}`)] };
}

const shoot = async (page, name, fullPage = true) => {
  if (options.screenshots) await page.screenshot({ path: path.join(options.screenshots, `${name}.png`), fullPage });
};

const video = (page) => page.evaluate(() => {
  const element = document.querySelector('video');
  return { position: element.currentTime, wallMs: performance.now(), frames: element.getVideoPlaybackQuality().totalVideoFrames };
});

const text = (page, selector) => page.locator(selector).textContent();

async function checkHead(base) {
  const answer = await fetch(`${base}/`);
  const policy = answer.headers.get('content-security-policy') ?? '';
  require(policy.includes("default-src 'none'"), `the policy is ${policy || 'missing'}`);
  require(!/unsafe|\*|https?:/.test(policy), `the policy is too wide: ${policy}`);
  require(answer.headers.get('x-content-type-options') === 'nosniff', 'no nosniff');
  const html = await answer.text();
  require(!/<script(?![^>]*src=)|<style| style=| on\w+=/.test(html), 'there is inline code or style in it');
  const { status } = await fetch(`${base}/web/page.css`, { headers: { 'if-none-match': (await fetch(`${base}/web/page.css`)).headers.get('etag') ?? '""' } });
  if (options.binary) {
    require(answer.headers.get('content-encoding') === 'gzip', 'a client that takes gzip does not get it');
    require(status === 304, `asked again with its ETag a file is ${status}`);
    require((await fetch(`${base}/web/LICENSE-hls.js`)).status === 404, 'a file that is none of the page is served');
  }
  const json = await (await fetch(`${base}/web/channels.json`)).text();
  require(!/127\.0\.0\.1|secret-path|"pid"/.test(json), `channels.json tells of origins: ${json.slice(0, 200)}`);
  return `channels.json ${json.length} bytes`;
}

async function checkList(page) {
  const cards = await page.$$eval('.card', (found) => found.map((card) => [card.dataset.channel, card.querySelector('.state').textContent]));
  const ids = cards.map(([id]) => id);
  for (const id of ['demo-1', 'demo-2', 'demo-3', 'broken']) require(ids.includes(id), `${id} is not shown`);
  require(cards.every(([, state]) => state.length > 3), 'a card has no state');
  return cards.map((card) => card.join(' ')).join(', ');
}

async function checkFormat(page, channel, format) {
  await page.click(`.card[data-channel="${channel}"]`);
  const asked = [];
  const note = (request) => asked.push(request.url());
  page.on('request', note);
  const clicked = Date.now();
  await page.click(`.formats button[data-format="${format}"]`);
  await eventually('a moving picture', async () => {
    const { position, frames } = await video(page);
    return (await page.getAttribute('#stage', 'data-state')) === 'playing' && position > 0 && frames > 0;
  }).catch(async (error) => {
    throw new Error(`${error.message}; the page says: ${await text(page, '#overlay-title')}: ${await text(page, '#overlay-text')}`);
  });
  const startMs = Date.now() - clicked;
  await sleep(1_000);
  const first = await video(page);
  await sleep(SECONDS * 1000);
  const last = await video(page);
  page.off('request', note);
  const pace = ((last.position - first.position) * 1000) / (last.wallMs - first.wallMs);
  const latency = await text(page, '#figure-latency');
  const stalls = await text(page, '#figure-stalls');
  const figures = `start ${startMs} ms, pace ${pace.toFixed(3)}, latency ${latency}, buffered ${await text(page, '#figure-buffer')}, stalls ${stalls}, ` +
    `${await text(page, '#figure-picture')}, frames ${await text(page, '#figure-frames')} dropped ${await text(page, '#figure-dropped')}, ${await text(page, '#figure-bitrate')}`;
  for (const wanted of ASKED[format]) require(asked.some((url) => wanted.test(url)), `nothing like ${wanted} was asked for`);
  require(pace >= PACE_MIN, `pace ${pace.toFixed(3)} is below ${PACE_MIN}; ${figures}`);
  require(parseFloat(latency) > 0 && parseFloat(latency) < LATENCY_S_MAX, `latency shows ${latency}`);
  require(/^none$|^\d+ · /.test(stalls), `stalls show ${stalls}`);
  require(/^\d+×\d+$/.test(await text(page, '#figure-picture')), 'no picture size');
  return figures;
}

async function checkLive(page, channel) {
  const card = `.card[data-channel="${channel}"]`;
  await eventually('a live card with its viewer', async () =>
    (await text(page, `${card} .state`)) === 'Live' && /^[1-9].*: /.test(await text(page, `${card} .viewers`)));
  require(/^H\.264 \d+×\d+ · AAC /.test(await text(page, `${card} .media`)), `codecs read ${await text(page, `${card} .media`)}`);
  await eventually('a bitrate and its sparkline', async () =>
    /b\/s$/.test(await text(page, `${card} .rate`)) && (await page.getAttribute(`${card} .spark-line`, 'd')).length > 20);
  require(/^Origin up · /.test(await text(page, `${card} .health`)), 'the origin is not shown up');
  return `${await text(page, `${card} .media`)}; ${await text(page, `${card} .rate`)}; ${await text(page, `${card} .viewers`)}; ${await text(page, '#summary')}`;
}

async function checkCopy(page, base, channel) {
  const copied = [];
  for (const row of await page.$$('.addresses li')) {
    await (await row.$('button')).click();
    await page.waitForFunction((node) => node.textContent === 'Copied', await row.$('button'));
    const clipboard = await page.evaluate(() => navigator.clipboard.readText());
    require(clipboard === (await (await row.$('code')).textContent()), `copied ${clipboard}`);
    copied.push(clipboard);
  }
  const media = `${base}/relay/channel/${channel}`;
  for (const address of [`${media}/index.m3u8?format=hls-fmp4`, `${media}/index.m3u8?format=hls-ts`, `${media}/manifest.mpd`, `${media}/stream.ts`,
    `vlc ${media}/stream.ts`, `${base}/channels.m3u`]) require(copied.includes(address), `${address} cannot be copied`);
  return `${copied.length} addresses`;
}

/** Plain http has no clipboard API: the fallback must work where a relay usually is. */
async function checkCopyWithoutApi(page) {
  await page.evaluate(() => Object.defineProperty(window, 'isSecureContext', { value: false }));
  const row = await page.$('.addresses li:last-child');
  await (await row.$('button')).click();
  await page.waitForFunction((node) => node.textContent === 'Copied', await row.$('button'));
  require((await page.evaluate(() => navigator.clipboard.readText())).endsWith('/channels.m3u'), 'it copied something else');
}

async function checkUnmute(page) {
  await page.click('#unmute');
  require(!(await page.evaluate(() => document.querySelector('video').muted)), 'still muted');
  require(await page.isHidden('#unmute'), 'the button stays');
}

/** Closing must end the stream too, not only hide it. */
async function checkClose(page, channel) {
  await page.click('#close');
  require(await page.isHidden('#playing'), 'the panel stays');
  await eventually('the last viewer gone', async () => !/MPEG-TS/.test(await text(page, `.card[data-channel="${channel}"] .viewers`)));
}

async function checkNoSideways(page) {
  const widths = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  require(widths[0] <= widths[1], `${widths[0]} px wide on ${widths[1]} px`);
  return `${widths[0]} px`;
}

async function checkBroken(context, base) {
  const { page } = await open(context, base);
  await page.click('.card[data-channel="broken"]');
  await eventually('the reason', async () =>
    (await page.getAttribute('#stage', 'data-state')) === 'error' && /the origin/i.test(await text(page, '#overlay-text')));
  const words = await text(page, '#overlay-text');
  require(!/127\.0\.0\.1|secret/.test(words), `it tells of the origin: ${words}`);
  await eventually('a failed card', async () => (await text(page, '.card[data-channel="broken"] .state')) === 'Failed');
  await shoot(page, 'broken');
  await page.setViewportSize(NARROW);
  await checkNoSideways(page);
  await shoot(page, 'broken-narrow');
  await page.close();
  return words;
}

/** channels.json as a relay with other channels would answer it. */
const answerWith = (channels) => (page) => page.route('**/web/channels.json', (route) =>
  route.fulfill({ json: { now_ms: Date.now(), total: channels.length, channels } }));

/** demo-1, said to carry other tracks than it does. */
const carrying = (...tracks) => answerWith([{
  id: 'demo-1', name: 'Demo 1', state: 'live', up_s: 5, bitrate_bps: 12e6, viewers: {}, tracks,
  origin: { up: true, bytes: 1, connections: 1, continuity_errors: 0, samples_dropped: 0 },
}]);

async function checkSilent(context, base) {
  const { page } = await open(context, base, carrying(
    { kind: 'video', codec: 'h264', rfc6381: 'avc1.64001e', detail: '640x360' },
    { kind: 'audio', codec: 'ac3', rfc6381: 'ac-3', detail: '48000 Hz, 6 ch' },
  ));
  if (await page.evaluate(() => MediaSource.isTypeSupported('audio/mp4; codecs="ac-3"'))) return 'this browser decodes AC-3';
  await page.click('.card');
  await page.click('.formats button[data-format="hls-ts"]');
  const words = await text(page, '#note');
  require(words.startsWith('This browser cannot decode ac-3 (AC-3): picture without sound.'), `it says: ${words}`);
  await eventually('the picture', async () => (await video(page)).frames > 0);
  await page.close();
  return words;
}

async function checkUndecodable(context, base) {
  const { page } = await open(context, base, carrying({ kind: 'video', codec: 'h265', rfc6381: 'hvc1.2.4.L153.B0', detail: '3840x2160' }));
  const decodes = await page.evaluate(() => MediaSource.isTypeSupported('video/mp4; codecs="hvc1.2.4.L153.B0"'));
  await page.click('.card');
  const words = await text(page, '#overlay-text');
  if (!decodes) require(words.startsWith('This browser cannot decode hvc1.2.4.L153.B0 (H.265)') && words.includes('vlc http'), `it says: ${words}`);
  await shoot(page, 'undecodable');
  await page.close();
  return decodes ? 'this browser decodes H.265' : words;
}

async function checkThousand(context, base) {
  const states = ['idle', 'idle', 'live', 'live', 'stalled', 'failed'];
  const channels = Array.from({ length: 1000 }, (_, i) => {
    const channel = { id: `c${i}`, name: `Channel ${i}`, group: ['News', 'Sport', 'Film'][i % 3], state: states[i % states.length] };
    if (channel.state === 'idle') return channel;
    return {
      ...channel, up_s: i * 100, bitrate_bps: 4e6, origin: { up: channel.state === 'live', bytes: 1, connections: 1, continuity_errors: i % 5, samples_dropped: 0 },
      viewers: { 'hls-ts': i % 7, dash: i % 3 }, tracks: [{ kind: 'video', codec: 'h264', rfc6381: 'avc1.640028', detail: '1920x1080' }],
      ...(channel.state === 'failed' ? { reason: 'the origin answered 404 (Not Found)' } : {}),
    };
  });
  const { page, wrongs } = await open(context, base, answerWith(channels));
  const cards = await page.locator('.card').count();
  require(cards <= 30, `${cards} cards at once`);
  await shoot(page, 'thousand', false);
  await page.click('.pager button:last-child');
  require((await text(page, '.pager span')).startsWith('25–48 of 1,000'), `the pager says ${await text(page, '.pager span')}`);
  const begin = Date.now();
  await page.fill('#filter', 'channel 77 news');
  await page.waitForFunction(() => [...document.querySelectorAll('.card .name')].every((name) => name.textContent.includes('77')));
  const filterMs = Date.now() - begin;
  const left = await page.locator('.card').count();
  const expected = channels.filter(({ name, group }) => name.includes('77') && group === 'News').length;
  require(left === expected, `${left} cards match "channel 77 news", not ${expected}`);
  await page.fill('#filter', '');
  await page.click('.chips button[data-show="trouble"]');
  require((await page.$$eval('.card', (found) => found.map((card) => card.dataset.state))).every((state) => /stalled|failed/.test(state)), 'trouble shows others');
  await page.setViewportSize(NARROW);
  await checkNoSideways(page);
  await shoot(page, 'thousand-narrow', false);
  const found = await wrongs();
  require(found.length === 0, found.join('; '));
  await page.close();
  return `${cards} cards at once, filter in ${filterMs} ms`;
}

/** What the source does not have, chosen from the list of profiles, made, played, and shown on the card. */
async function checkProfile(page, channel) {
  await page.click(`.card[data-channel="${channel}"]`);
  await page.click('.formats button[data-format="hls-fmp4"]');
  const asked = [];
  const note = (request) => asked.push(request.url());
  page.on('request', note);
  const offered = await page.$$eval('#profile-select option', (found) => found.map((option) => option.value));
  await page.selectOption('#profile-select', 'low');
  await eventually('a moving picture of the profile', async () => {
    const { position, frames } = await video(page);
    const isMade = asked.some((url) => url.includes('-h264-360p-800k/') && url.endsWith('.m4s'));
    return isMade && (await page.getAttribute('#stage', 'data-state')) === 'playing' && position > 0 && frames > 0;
  });
  page.off('request', note);
  const card = `.card[data-channel="${channel}"]`;
  await eventually('the card says what is made', async () => /made: h264 360p 800k at \d+ fps/.test(await text(page, card)));
  const addresses = await text(page, '#addresses');
  require(addresses.includes('profile=low'), 'the addresses do not follow the profile');
  await shoot(page, 'wide-profile');
  await page.selectOption('#profile-select', '');
  return `${offered.length - 1} profiles offered`;
}

async function checkWrongs(wrongs) {
  const found = await wrongs();
  require(found.length === 0, found.slice(0, 4).join('; '));
}

async function checkWide(browser, base) {
  const context = await browser.newContext({ viewport: WIDE, permissions: ['clipboard-read', 'clipboard-write'] });
  const { page, wrongs } = await open(context, base);
  await check('page shows all channels', () => checkList(page));
  await shoot(page, 'wide-empty');
  for (const format of FORMATS) {
    await check(`page plays ${format}`, () => checkFormat(page, 'demo-1', format));
    await shoot(page, `wide-${format}`);
  }
  await check('page plays a profile', () => checkProfile(page, 'demo-1'));
  await check('page shows a live channel', () => checkLive(page, 'demo-1'));
  await check('page copies addresses', () => checkCopy(page, base, 'demo-1'));
  await check('page copies over plain http', () => checkCopyWithoutApi(page));
  await check('page unmutes', () => checkUnmute(page));
  await check('page closes the player', () => checkClose(page, 'demo-1'));
  await check('wide page does nothing wrong', () => checkWrongs(wrongs));
  await page.close();
  await check('page says why a channel fails', () => checkBroken(context, base));
  await check('page says what cannot be decoded', () => checkUndecodable(context, base));
  await check('page says what will not be heard', () => checkSilent(context, base));
  await check('page bears a thousand channels', () => checkThousand(context, base));
  await context.close();
}

async function checkNarrow(browser, base) {
  const context = await browser.newContext({ viewport: NARROW, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme: 'dark' });
  const { page, wrongs } = await open(context, base);
  await check('narrow page has no sideways scroll', () => checkNoSideways(page));
  await shoot(page, 'narrow-empty');
  for (const format of FORMATS.slice(0, 1)) await check(`narrow page plays ${format}`, () => checkFormat(page, 'demo-2', format));
  await check('narrow page, playing, has none either', () => checkNoSideways(page));
  await shoot(page, 'narrow-playing');
  await page.setViewportSize({ width: 2200, height: 1200 });
  await check('very wide page has none either', () => checkNoSideways(page));
  await shoot(page, 'very-wide-dark', false);
  await check('narrow page does nothing wrong', () => checkWrongs(wrongs));
  await context.close();
}

let playwright;
try {
  playwright = await import('playwright-core');
} catch {
  tell('SKIP', 'page', 'the players\' modules are not installed');
  process.exit(0);
}
const executablePath = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((file) => file && fs.existsSync(file));
if (!executablePath) {
  tell('SKIP', 'page', 'there is no Chromium');
  process.exit(0);
}
if (options.screenshots) fs.mkdirSync(options.screenshots, { recursive: true });
const demo = options.base ? { base: options.base, stop: () => {} } : await startDemo();
let browser;
try {
  browser = await playwright.chromium.launch({ executablePath, headless: true, args: BROWSER_ARGS });
  await check('page head', () => checkHead(demo.base));
  await checkWide(browser, demo.base);
  await checkNarrow(browser, demo.base);
} catch (error) {
  failed = true;
  tell('FAIL', 'page', String(error));
} finally {
  await browser?.close();
  demo.stop();
}
process.exit(failed ? 1 : 0);
