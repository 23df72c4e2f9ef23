//! Request heads as five common players send them for a segment or a stream: what the request parser is measured and
//! tested with. Written by hand after each player's field names, order and case; host, channel, referrer and versions
//! are made up.

/// A name for reports, and the head.
pub const PLAYERS: [(&str, &str); 5] =
    [("chrome_hlsjs", CHROME), ("safari_avplayer", SAFARI), ("vlc", VLC), ("exoplayer", EXOPLAYER), ("ffmpeg", FFMPEG)];

const CHROME: &str = "GET /relay/channel/news-hd/1790000000/ts/1790000123.ts HTTP/1.1\r\n\
    Host: edge-12.cdn.example.net:8080\r\n\
    Connection: keep-alive\r\n\
    sec-ch-ua-platform: \"Windows\"\r\n\
    User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36\r\n\
    sec-ch-ua: \"Not;A=Brand\";v=\"99\", \"Google Chrome\";v=\"139\", \"Chromium\";v=\"139\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    Accept: */*\r\n\
    Origin: https://player.example.com\r\n\
    Sec-Fetch-Site: cross-site\r\n\
    Sec-Fetch-Mode: cors\r\n\
    Sec-Fetch-Dest: empty\r\n\
    Referer: https://player.example.com/\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en-US;q=0.9,en;q=0.8,de;q=0.7\r\n\
    \r\n";

const SAFARI: &str = "GET /relay/channel/news-hd/1790000000/ts/1790000123.ts HTTP/1.1\r\n\
    Host: edge-12.cdn.example.net:8080\r\n\
    X-Playback-Session-Id: 6F1C2C1E-6A4E-4C1B-9C0B-0C5A0E7C8C55\r\n\
    Range: bytes=0-1\r\n\
    Accept: */*\r\n\
    User-Agent: AppleCoreMedia/1.0.0.22F76 (iPhone; U; CPU OS 18_5 like Mac OS X; en_gb)\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n\
    Accept-Encoding: identity\r\n\
    Connection: keep-alive\r\n\
    \r\n";

const VLC: &str = "GET /relay/channel/news-hd/stream.ts HTTP/1.1\r\n\
    Host: edge-12.cdn.example.net:8080\r\n\
    Accept: */*\r\n\
    Accept-Language: en_US\r\n\
    User-Agent: VLC/3.0.21 LibVLC/3.0.21\r\n\
    Range: bytes=0-\r\n\
    \r\n";

const EXOPLAYER: &str = "GET /relay/channel/news-hd/1790000000/ts/1790000123.ts HTTP/1.1\r\n\
    User-Agent: ExampleTv/4.2 (Linux;Android 14) AndroidXMedia3/1.4.1\r\n\
    Accept-Encoding: identity\r\n\
    Host: edge-12.cdn.example.net:8080\r\n\
    Connection: Keep-Alive\r\n\
    \r\n";

const FFMPEG: &str = "GET /relay/channel/news-hd/stream?format=mpegts HTTP/1.1\r\n\
    User-Agent: Lavf/61.7.100\r\n\
    Accept: */*\r\n\
    Range: bytes=0-\r\n\
    Connection: close\r\n\
    Host: edge-12.cdn.example.net:8080\r\n\
    Icy-MetaData: 1\r\n\
    \r\n";
