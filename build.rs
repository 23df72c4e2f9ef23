//! Tells the code which FFmpeg it is built against: `cfg(ffmpeg_7_0)` holds for 7.0 and everything newer.
//!
//! ffmpeg-sys-next probes the headers and hands the result on as `DEP_FFMPEG_FFMPEG_*` variables. Without the
//! `libav` feature there are none, and no such cfg is set.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for version in ["6_0", "7_0"] {
        println!("cargo:rustc-check-cfg=cfg(ffmpeg_{version})");
        if std::env::var(format!("DEP_FFMPEG_FFMPEG_{version}")).as_deref() == Ok("true") {
            println!("cargo:rustc-cfg=ffmpeg_{version}");
        }
    }
}
