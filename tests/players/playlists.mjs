// playlists.mjs FILE...: holds HLS playlists against hls-parser (strict) and m3u8-parser (warnings count). One line of complaint each.
import HLS from 'hls-parser';
import { Parser } from 'm3u8-parser';
import fs from 'node:fs';

HLS.setOptions({ strictMode: true });
const complaints = [];
for (const file of process.argv.slice(2)) {
  const text = fs.readFileSync(file, 'utf8');
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
console.log(complaints.join('\n'));
process.exit(complaints.length ? 1 : 0);
