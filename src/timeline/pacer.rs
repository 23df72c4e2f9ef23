//! Evens out bursty origins: tells how long the demuxer has to wait before it goes on past a PCR.
