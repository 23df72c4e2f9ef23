//! What a request asks to be made of the source: `?video=`, `?audio=` and `?profile=`.
#![forbid(unsafe_code)]

use super::profiles::Profiles;
use super::{RouteError, parameter};
use crate::es::Codec;
use crate::es::encoding::{AudioEncoding, VideoEncoding};
use crate::es::selection::Selection;
use crate::http::url::Target;

/// What one of the parameters says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The source's, as it is.
    Copy,
    /// Leave it out.
    None,
    Codec(Codec),
}

/// All three. What is `None` was not asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    pub video: Option<Wanted>,
    pub audio: Option<Wanted>,
    pub profile: Option<Selection>,
}

impl Ask {
    /// Reads a target's query.
    ///
    /// # Errors
    /// [`RouteError::UnknownVideo`], [`RouteError::UnknownAudio`], [`RouteError::UnknownProfile`], [`RouteError::NothingAsked`]
    pub(super) fn of(target: Target<'_>, profiles: &Profiles) -> Result<Ask, RouteError> {
        let read = |name, codecs: &[Codec], unknown| match parameter(target, name)? {
            None => Ok(None),
            Some(value) if value.is_empty() => Ok(None),
            Some(value) => wanted(&value, codecs).map(Some).ok_or(unknown),
        };
        let ask = Ask {
            video: read("video", &VideoEncoding::CODECS, RouteError::UnknownVideo)?,
            audio: read("audio", &AudioEncoding::CODECS, RouteError::UnknownAudio)?,
            profile: match parameter(target, "profile")? {
                None => None,
                Some(name) if name.is_empty() => None,
                Some(name) => Some(profiles.find(&name.to_ascii_lowercase()).ok_or_else(|| unknown(profiles))?),
            },
        };
        if (ask.video, ask.audio) == (Some(Wanted::None), Some(Wanted::None)) {
            return Err(RouteError::NothingAsked);
        }
        Ok(ask)
    }

    pub fn is_silent(&self) -> bool {
        *self == Ask::default()
    }
}

fn unknown(profiles: &Profiles) -> RouteError {
    let names: Vec<&str> = profiles.names().collect();
    RouteError::UnknownProfile(if names.is_empty() {
        "there is none".into()
    } else {
        format!("use {}", names.join(", "))
    })
}

fn wanted(value: &str, codecs: &[Codec]) -> Option<Wanted> {
    match value.to_ascii_lowercase().as_str() {
        "copy" => Some(Wanted::Copy),
        "none" => Some(Wanted::None),
        name => codecs.iter().find(|codec| codec.name() == name).map(|codec| Wanted::Codec(*codec)),
    }
}
