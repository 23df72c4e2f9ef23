//! The stream that benches read: 30 s of 8 Mb/s H.264 with B-frames and AAC in MPEG-TS.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Its file below `target/`, made by `ffmpeg` on first use; `None`, and a line that says so, where there is no ffmpeg.
pub fn file() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-stream.ts");
    if !path.exists() {
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=s=1280x720:r=25,noise=alls=20:allf=t"])
            .args(["-f", "lavfi", "-i", "sine=f=440:b=4", "-t", "30", "-c:v", "libx264", "-preset", "superfast"])
            .args(["-bf", "3", "-g", "50", "-b:v", "8M", "-maxrate", "8M", "-bufsize", "8M"])
            .args(["-c:a", "aac", "-b:a", "128k", "-f", "mpegts"])
            .arg(&path)
            .status();
        if !made.is_ok_and(|status| status.success()) {
            println!("SKIP: no ffmpeg to make the stream with");
            return None;
        }
    }
    Some(path)
}
