// playlists.mjs FILE...: holds HLS playlists against hls-parser (strict) and m3u8-parser (warnings count), and MPDs (*.mpd) against
// mpd-parser. One line of complaint each; exits 1 when there is one.
import HLS from 'hls-parser';
import { Parser } from 'm3u8-parser';
import { parse } from 'mpd-parser';
import fs from 'node:fs';

HLS.setOptions({ strictMode: true });
const complaints = [];

function checkHls(file, text) {
  try {
    HLS.parse(text);
  } catch (error) {
    complaints.push(`${file}: hls-parser: ${error.message}`);
  }
  const parser = new Parser();
  parser.on('warn', ({ message }) => complaints.push(`${file}: m3u8-parser: ${message}`));
  parser.push(text);
  parser.end();
}

// mpd-parser turns an MPD into playlists: every rendition must have segments that follow each other, each at a URL of its own.
function checkMpd(file, text) {
  const complain = (message) => complaints.push(`${file}: mpd-parser: ${message}`);
  // A note of it is no complaint: that two Periods break the timeline is what they are for.
  const eventHandler = ({ type, message }) => type === 'warn' && complain(message);
  let manifest;
  try {
    manifest = parse(text, { manifestUri: 'http://relay.test/channel/manifest.mpd', eventHandler });
  } catch (error) {
    return complain(error.message);
  }
  const groups = Object.values(manifest.mediaGroups.AUDIO).flatMap(Object.values);
  const playlists = [...manifest.playlists, ...groups.flatMap(({ playlists }) => playlists)];
  const renditions = new Set(text.match(/<Representation id="[^"]*"/g));
  if (playlists.length < renditions.size) complain(`${renditions.size} Representations, ${playlists.length} playlists`);
  for (const playlist of playlists) {
    const name = playlist.attributes.NAME;
    const urls = playlist.segments.map(({ resolvedUri }) => resolvedUri);
    if (urls.length === 0) complain(`${name} has no segments`);
    if (new Set(urls).size !== urls.length) complain(`${name} lists a segment twice`);
    if (urls.some((url) => url.includes('$'))) complain(`${name} has a template that is not filled in`);
    playlist.segments.reduce((end, { presentationTime, duration }) => {
      // As doubles; a millisecond is less than any frame.
      if (presentationTime < end - 0.001) complain(`${name}: the segment at ${presentationTime} begins before ${end}`);
      return presentationTime + duration;
    }, 0);
  }
}

for (const file of process.argv.slice(2)) {
  const text = fs.readFileSync(file, 'utf8');
  (file.endsWith('.mpd') ? checkMpd : checkHls)(file, text);
}
console.log(complaints.join('\n'));
process.exit(complaints.length ? 1 : 0);
