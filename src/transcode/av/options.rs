//! Options of encoders and filters, by name.

use super::AvError;
use ffmpeg_sys_next as ff;
use std::ffi::{CStr, CString};
use std::ptr::{null, null_mut};

/// A dictionary, freed on drop.
pub struct Options(pub(super) *mut ff::AVDictionary);

impl Options {
    pub fn new() -> Options {
        Options(null_mut())
    }

    pub fn set(&mut self, name: &CStr, value: &str) {
        // A value of ours holds no zero byte.
        let value = CString::new(value).unwrap_or_default();
        // SAFETY: the pointer is null or a dictionary of ours; both strings are copied. Out of memory leaves the option out, which
        // opening then survives.
        unsafe { ff::av_dict_set(&mut self.0, name.as_ptr(), value.as_ptr(), 0) };
    }

    /// libav takes what it knows out of the dictionary: what is left was misspelt, or this FFmpeg does not have it.
    pub fn check_all_taken(&self) -> Result<(), AvError> {
        // SAFETY: iterating a dictionary of ours; an entry lives as long as the dictionary is not changed.
        unsafe {
            let entry = ff::av_dict_get(self.0, c"".as_ptr(), null(), ff::AV_DICT_IGNORE_SUFFIX as _);
            if entry.is_null() {
                return Ok(());
            }
            let name = CStr::from_ptr((*entry).key).to_string_lossy().into_owned();
            Err(AvError::new("this FFmpeg does not know the option", name))
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options::new()
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: null or a dictionary of ours.
        unsafe { ff::av_dict_free(&mut self.0) };
    }
}
