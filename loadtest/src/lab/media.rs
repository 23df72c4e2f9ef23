//! What the servers of an experiment serve: a TS file of constant rate, made by ffmpeg, and what the relay makes of it.

use crate::player::url;
use anyhow::{Context, Result, bail, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Length of the looped file, seconds.
const FILE_S: u32 = 60;
/// Pictures a second.
pub const FRAMES_PER_S: u32 = 25;
/// Below this rate the picture is a small one, kb/s: a large one would not become so few bits.
const LARGE_KBPS_MIN: u32 = 1_500;

/// Where test streams are kept from run to run.
///
/// # Errors
/// It cannot be made.
pub fn cache() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join("millrace-fanout");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// A TS file of `kbps` in `folder`, H.264 with a key picture every two seconds and AAC; made once.
///
/// # Errors
/// ffmpeg is missing or fails.
pub fn ts_file(folder: &Path, kbps: u32) -> Result<PathBuf> {
    let path = folder.join(format!("{kbps}k.ts"));
    if path.exists() {
        return Ok(path);
    }
    let unfinished = folder.join(format!("{kbps}k.unfinished"));
    let video = format!("{}k", kbps.saturating_sub(kbps / 20 + 140));
    let size = if kbps < LARGE_KBPS_MIN { "320x180" } else { "1280x720" };
    let picture = format!("testsrc2=size={size}:rate={FRAMES_PER_S}:duration={FILE_S},noise=alls=12:allf=t");
    let sound = format!("sine=frequency=330:sample_rate=48000:duration={FILE_S}");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound]);
    command.args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50", "-sc_threshold", "0"]);
    command.args(["-b:v", &video, "-minrate", &video, "-maxrate", &video, "-bufsize", &video]);
    command.args(["-x264-params", "nal-hrd=cbr:force-cfr=1", "-c:a", "aac", "-b:a", "128k", "-f", "mpegts"]);
    let status = command.arg(&unfinished).status().context("cannot start ffmpeg: install it")?;
    ensure!(status.success(), "ffmpeg could not make a test stream");
    std::fs::rename(&unfinished, &path)?;
    Ok(path)
}

/// GET, to the end of a body with Content-Length.
///
/// # Errors
/// Anything but a whole answer of 200.
pub fn get(addr: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = memchr::memmem::find(&answer, b"\r\n\r\n").context("no whole head")?;
    if !answer.starts_with(b"HTTP/1.1 200") {
        bail!("{path}: {}", String::from_utf8_lossy(&answer[..end.min(200)]));
    }
    Ok(answer.split_off(end + 4))
}

/// Length of the body that a head announces, bytes.
pub fn content_length(head: &[u8]) -> Option<usize> {
    let lines = std::str::from_utf8(head).ok()?.lines();
    let fields = lines.filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next()?.1.trim().parse().ok()
}

/// Rate of a file of [`ts_file`], bits a second.
///
/// # Errors
/// It cannot be read.
pub fn bits_per_second(file: &Path) -> Result<f64> {
    Ok(std::fs::metadata(file)?.len() as f64 * 8.0 / f64::from(FILE_S))
}

/// The media playlist of a channel's HLS-TS, and its text.
///
/// # Errors
/// As [`get`], and a multivariant playlist that names none.
pub fn media_playlist(addr: SocketAddr, channel: &str) -> Result<(String, String)> {
    let entry = format!("/relay/channel/{channel}/index.m3u8?format=hls-ts");
    let text = String::from_utf8(get(addr, &entry)?).context("a playlist that is no text")?;
    let uri = text.lines().find(|line| line.ends_with(".m3u8")).context("the multivariant playlist names none")?;
    let path = resolve(&entry, uri).context("the media playlist lies elsewhere")?;
    let text = String::from_utf8(get(addr, &path)?).context("a playlist that is no text")?;
    Ok((path, text))
}

/// Path of the newest segment in a media playlist that lies at `path`.
pub fn newest_segment(path: &str, playlist: &str) -> Option<String> {
    let uri = playlist.lines().rfind(|line| !line.starts_with('#') && !line.is_empty())?;
    resolve(path, uri)
}

/// The path that a reference means in a playlist that lies at `path`, on the same server.
fn resolve(path: &str, reference: &str) -> Option<String> {
    const SERVER: &str = "http://relay";
    let url = url::resolve(&format!("{SERVER}{path}"), reference)?;
    url.strip_prefix(SERVER).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_found_whatever_its_case() {
        assert_eq!(content_length(b"HTTP/1.1 200 OK\r\nServer: a\r\nCONTENT-length: 42"), Some(42));
        assert_eq!(content_length(b"HTTP/1.1 200 OK\r\nContent-Length: x"), None);
        assert_eq!(content_length(b"HTTP/1.1 200 OK"), None);
    }

    #[test]
    fn the_newest_segment_lies_beside_its_playlist() {
        let playlist = "#EXTM3U\n#EXTINF:2,\n7.ts\n#EXTINF:2,\n../../a/ts/8.ts\n";
        assert_eq!(newest_segment("/a/ts/media.m3u8", playlist).as_deref(), Some("/a/ts/8.ts"));
        assert_eq!(newest_segment("/a/ts/media.m3u8", "#EXTM3U\n"), None);
    }
}
