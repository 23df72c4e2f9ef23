//! Tells the code which FFmpeg it is built against, and packs the page's files for [`millrace::web`].
//!
//! ffmpeg-sys-next probes the headers and hands the result on as `DEP_FFMPEG_FFMPEG_*` variables. Without the
//! `libav` feature there are none, and no such cfg is set; `cfg(ffmpeg_7_0)` holds for 7.0 and everything newer.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for version in ["6_0", "7_0", "8_0"] {
        println!("cargo:rustc-check-cfg=cfg(ffmpeg_{version})");
        if env::var(format!("DEP_FFMPEG_FFMPEG_{version}")).as_deref() == Ok("true") {
            println!("cargo:rustc-cfg=ffmpeg_{version}");
        }
    }
    pack_page().expect("the files of src/web can be read and OUT_DIR written");
}

/// Folders whose files make the page, and the media type of each kind of file; others (licences) are not served.
const FOLDERS: [&str; 2] = ["src/web/assets", "src/web/players"];
const MEDIA_TYPES: [(&str, &str); 4] = [
    ("html", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("svg", "image/svg+xml"),
];

/// Writes `OUT_DIR/web_assets.rs`: a slice of `Asset`, each with its bytes plain and gzipped.
fn pack_page() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let mut table = String::from("&[\n");
    for folder in FOLDERS {
        println!("cargo:rerun-if-changed={folder}");
        let mut files: Vec<PathBuf> =
            fs::read_dir(root.join(folder))?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        files.sort();
        for file in files {
            println!("cargo:rerun-if-changed={}", file.display());
            pack_file(&file, &out, &mut table)?;
        }
    }
    table.push(']');
    fs::write(out.join("web_assets.rs"), table)
}

fn pack_file(file: &Path, out: &Path, table: &mut String) -> io::Result<()> {
    let (Some(name), Some(extension)) = (file.file_name(), file.extension()) else { return Ok(()) };
    let Some((_, media_type)) = MEDIA_TYPES.iter().find(|(known, _)| extension == *known) else { return Ok(()) };
    // `LICENSE-hls.js` ends like a script.
    if name.as_encoded_bytes().starts_with(b"LICENSE") {
        return Ok(());
    }
    let plain = fs::read(file)?;
    let packed = out.join(format!("{}.gz", name.display()));
    let mut gzip = flate2::write::GzEncoder::new(fs::File::create(&packed)?, flate2::Compression::best());
    gzip.write_all(&plain)?;
    gzip.finish()?;
    let tag = fnv1a(&plain);
    writeln!(
        table,
        "Asset {{ name: {name:?}, media_type: {media_type:?}, etag: \"\\\"{tag:016x}\\\"\", etag_gzip: \"\\\"{tag:016x}-gzip\\\"\", \
         plain: include_bytes!({file:?}), gzip: include_bytes!({packed:?}) }},"
    )
    .map_err(io::Error::other)
}

/// FNV-1a, 64 bits: a change of a file changes its entity tag.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
