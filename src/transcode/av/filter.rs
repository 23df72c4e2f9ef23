//! A libavfilter graph of one input and one output: deinterlacing, tone mapping.

use super::frame::{Frame, PictureShape};
use super::{AvError, check, found};
use ffmpeg_sys_next as ff;
use std::ffi::{CStr, CString};
use std::ptr::null_mut;

/// A graph for pictures of one shape. No pointer is null; source and sink belong to the graph.
pub struct Filter {
    graph: *mut ff::AVFilterGraph,
    source: *mut ff::AVFilterContext,
    sink: *mut ff::AVFilterContext,
    shape: PictureShape,
}

impl Filter {
    /// Opens a graph such as `bwdif=mode=send_frame:deint=interlaced`.
    pub fn open(description: &str, shape: PictureShape) -> Result<Filter, AvError> {
        // SAFETY: no arguments; the result is null or ours.
        let graph = unsafe { ff::avfilter_graph_alloc() };
        if graph.is_null() {
            return Err(AvError::out_of_memory("a filter"));
        }
        // From here on Drop frees the graph with all that is in it, whatever fails.
        let mut filter = Filter { graph, source: null_mut(), sink: null_mut(), shape };
        let PictureShape { width, height, format, sar: (num, den), .. } = shape;
        let source = format!("video_size={width}x{height}:pix_fmt={format}:time_base=1/90000:pixel_aspect={num}/{den}");
        // SAFETY: the graph is ours and not configured yet.
        unsafe {
            (*graph).nb_threads = 1;
            filter.source = filter.create(c"buffer", c"in", &source)?;
            filter.sink = filter.create(c"buffersink", c"out", "")?;
            filter.parse(description)?;
            check("a filter", ff::avfilter_graph_config(graph, null_mut()))?;
        }
        Ok(filter)
    }

    /// Makes one filter of the graph.
    ///
    /// # Safety
    /// The graph is not configured yet.
    unsafe fn create(&mut self, kind: &CStr, name: &CStr, settings: &str) -> Result<*mut ff::AVFilterContext, AvError> {
        let settings = CString::new(settings).map_err(|_| AvError::new("a filter", "a zero byte"))?;
        let mut context = null_mut();
        // SAFETY: strings outlive the call; the kind is a static description or null.
        unsafe {
            let kind = ff::avfilter_get_by_name(kind.as_ptr());
            if kind.is_null() {
                return Err(AvError::new("a filter", "not in this FFmpeg"));
            }
            let (name, settings) = (name.as_ptr(), settings.as_ptr());
            let result = ff::avfilter_graph_create_filter(&mut context, kind, name, settings, null_mut(), self.graph);
            check("a filter", result)?;
        }
        Ok(context)
    }

    /// Puts the described filters between source and sink.
    ///
    /// # Safety
    /// Source and sink are filters of the graph, which is not configured yet.
    unsafe fn parse(&mut self, description: &str) -> Result<(), AvError> {
        let description = CString::new(description).map_err(|_| AvError::new("a filter", "a zero byte"))?;
        // SAFETY: the ends are allocated here, filled in with strings of libav's allocator, and freed here in any case.
        unsafe {
            let (mut open_output, mut open_input) = (ff::avfilter_inout_alloc(), ff::avfilter_inout_alloc());
            let mut result = -libc::ENOMEM;
            if !open_output.is_null() && !open_input.is_null() {
                (*open_output).name = ff::av_strdup(c"in".as_ptr());
                (*open_output).filter_ctx = self.source;
                (*open_input).name = ff::av_strdup(c"out".as_ptr());
                (*open_input).filter_ctx = self.sink;
                let text = description.as_ptr();
                result = ff::avfilter_graph_parse_ptr(self.graph, text, &mut open_input, &mut open_output, null_mut());
            }
            ff::avfilter_inout_free(&mut open_output);
            ff::avfilter_inout_free(&mut open_input);
            check("a filter", result).map(drop)
        }
    }

    /// What the graph was opened for.
    pub fn shape(&self) -> &PictureShape {
        &self.shape
    }

    pub fn send(&mut self, frame: &Frame) -> Result<(), AvError> {
        let keep = ff::AV_BUFFERSRC_FLAG_KEEP_REF as std::ffi::c_int;
        // SAFETY: the source is a buffer filter of a configured graph; with KEEP_REF the frame stays ours.
        check("filtering", unsafe { ff::av_buffersrc_add_frame_flags(self.source, frame.0, keep) }).map(drop)
    }

    /// Nothing follows: what is still held comes out.
    pub fn send_end(&mut self) -> Result<(), AvError> {
        // SAFETY: no frame means the end.
        check("filtering", unsafe { ff::av_buffersrc_add_frame_flags(self.source, null_mut(), 0) }).map(drop)
    }

    /// The next picture, its PTS in 90 kHz again whatever time base the graph came to.
    pub fn receive(&mut self, frame: &mut Frame) -> Result<bool, AvError> {
        frame.clear();
        // SAFETY: the sink is a buffersink of a configured graph, and the frame is empty.
        let is_there = found("filtering", unsafe { ff::av_buffersink_get_frame(self.sink, frame.0) })?;
        if is_there && let Some(pts) = frame.pts() {
            // SAFETY: reads a field of the sink.
            let base = unsafe { ff::av_buffersink_get_time_base(self.sink) };
            // SAFETY: arithmetic alone.
            frame.set_pts(unsafe { ff::av_rescale_q(pts, base, super::TIME_BASE) });
        }
        Ok(is_there)
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: owned by this object alone; its filters go with it.
        unsafe { ff::avfilter_graph_free(&mut self.graph) };
    }
}
