//! Data at URLs are downloaded once, to the cache folder.

use crate::cache::{self, cache};
use musiva_core::recipe::Recipe;
use musiva_core::{Error, ErrorKind, Observer, Result, files};
use musiva_data::fetched_path;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

/// Requests for a file in a row, none of which brings a megabyte more of it, before the download fails; and the wait after
/// the first, which quadruples.
const TRIES: u32 = 4;
const WAIT: Duration = Duration::from_millis(500);
/// How long a server may be silent before the rest is requested anew.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a file of certificates at most.
const LARGEST_CERTIFICATES: u64 = 1 << 24;
/// Bytes that are read at once.
const BLOCK: usize = 1 << 16;
/// The hint where a URL does not give its file.
const ITSELF: &str = "open it in a browser: the URL has to give the file itself, without a login";
/// The unit of the progress bar, in bytes.
const MEGABYTE: u64 = 1_000_000;

/// Downloads the files of the recipe's data that lie at URLs and are not there yet, and lets the recipe read them from where
/// they are then: `data` below [`cache()`]. A file that is there is not requested again; an interrupted download is resumed
/// where the server can do that and the file has not changed. Other recipes are left as they are.
///
/// # Errors
/// Where a file cannot be downloaded whole, or the folder cannot be written; and what `observer` returns.
pub fn fetch(recipe: &mut Recipe, observer: &mut dyn Observer) -> Result<()> {
    let Some(data) = &mut recipe.data else { return Ok(()) };
    let urls = data.component.remote();
    if urls.is_empty() {
        return Ok(());
    }
    let folder = cache()?.join("data");
    let mut files = BTreeMap::new();
    for url in &urls {
        if files.insert(fetched_path(url, &folder), url).is_some_and(|other| other != url) {
            let message = "two URLs differ in their query strings alone, and files are kept by their paths";
            let hint = "download them first, and name the files";
            return Err(Error::new(ErrorKind::Data, "data.path", message).hint(hint));
        }
    }
    let (agent, count) = (agent()?, files.len());
    let mut fetched = 0;
    for (i, (path, url)) in files.iter().enumerate() {
        if !path.is_file() {
            let stage =
                if count == 1 { "download, MB".to_owned() } else { format!("download {} of {count}, MB", i + 1) };
            Download { agent: &agent, url, path, stage: &stage }.run(observer)?;
            fetched += 1;
        }
    }
    if fetched > 0 {
        let kept = count - fetched;
        observer.note(&format!("{fetched} files downloaded, {kept} were there; all are kept in {}", folder.display()));
    }
    if let Some(here) = data.component.fetched(&folder) {
        data.component = here;
    }
    for bucket in &mut recipe.buckets {
        if let Some(here) = bucket.data.fetched(&folder) {
            bucket.data = here;
        }
    }
    Ok(())
}

/// The HTTP client. It trusts Mozilla's certificates, or those in the file that `SSL_CERT_FILE` names, as a company's proxy
/// needs.
fn agent() -> Result<Agent> {
    let certificates = match cache::set("SSL_CERT_FILE") {
        None => RootCerts::WebPki,
        Some(path) => {
            let bytes = files::read(&path, LARGEST_CERTIFICATES)?;
            let found = parse_pem(&bytes).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            });
            RootCerts::from(found)
        }
    };
    let config = Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(certificates).build())
        .timeout_connect(Some(TIMEOUT))
        .timeout_recv_response(Some(TIMEOUT))
        .timeout_per_read(Some(TIMEOUT))
        .http_status_as_error(false)
        .build();
    Ok(Agent::new_with_config(config))
}

/// The download of a file.
struct Download<'a> {
    agent: &'a Agent,
    url: &'a str,
    path: &'a Path,
    stage: &'a str,
}

/// Why a request failed.
enum Failed {
    /// It may succeed the next time.
    Again(Error),
    Finally(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Finally(error)
    }
}

impl Download<'_> {
    /// Downloads the file. Other processes that want the same one wait.
    fn run(&self, observer: &mut dyn Observer) -> Result<()> {
        let part = self.beside(".part");
        let failed = |error| Error::io(&part, "write it", error).hint(cache::HINT);
        if let Some(folder) = part.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let open = || OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&part);
        let mut file = open().map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                observer.note(&format!("another process downloads {}: waiting for it", self.path.display()));
                file.lock().map_err(failed)?;
            }
            // Not every file system has locks.
            Err(TryLockError::Error(error)) => {
                let part = part.display();
                observer.warn(&format!("{part} cannot be locked ({error}): let no other process download it"));
            }
        }
        if self.path.is_file() {
            // Another process has just finished it, and this `.part` is new and empty.
            let _ = fs::remove_file(&part);
            return Ok(());
        }
        // The most bytes so far.
        let mut most = file.metadata().map_err(failed)?.len();
        let mut tries = 0;
        loop {
            match self.once(&mut file, observer) {
                Ok(()) => break,
                Err(Failed::Again(error)) if tries + 1 < TRIES => {
                    let length = file.metadata().map_err(failed)?.len();
                    if length >= most + MEGABYTE {
                        (most, tries) = (length, 0);
                    }
                    observer.warn(&format!("{}: {}; trying again", error.place(), error.message()));
                    sleep(WAIT * 4u32.pow(tries));
                    tries += 1;
                }
                Err(Failed::Again(error) | Failed::Finally(error)) => return Err(error),
            }
        }
        file.sync_all().map_err(failed)?;
        fs::rename(&part, self.path).map_err(failed)?;
        // It may never have been there.
        let _ = fs::remove_file(self.beside(".tag"));
        Ok(())
    }

    /// One request, from where `file` ends.
    fn once(&self, file: &mut File, observer: &mut dyn Observer) -> Result<(), Failed> {
        let failed = |error| self.unwritable(error);
        let mut at = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let tag = fs::read_to_string(self.beside(".tag")).ok();
        let mut request = self.agent.get(self.url);
        if let (1.., Some(tag)) = (at, &tag) {
            request = request.header(header::RANGE, format!("bytes={at}-")).header(header::IF_RANGE, tag);
        }
        let response = request.call().map_err(|error| self.unreachable(error))?;
        // Some servers answer ranges and ignore If-Range.
        let same = tag_of(&response).is_none_or(|found| Some(found) == tag);
        let rest = response.status() == StatusCode::PARTIAL_CONTENT && starts_at(&response, at) && same;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::PARTIAL_CONTENT if rest => {}
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if at > 0 => {
                // What is here is whole already, or of another version.
                file.set_len(0).map_err(failed)?;
                return Err(Failed::Again(self.error("the download cannot be resumed and starts anew")));
            }
            status => return Err(self.refused(status)),
        }
        if is_page(&response) {
            return Err(Failed::Finally(self.error("the server answers with a web page").hint(ITSELF)));
        }
        if !rest {
            file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
            at = 0;
            match tag_of(&response) {
                Some(tag) => fs::write(self.beside(".tag"), tag).map_err(failed)?,
                None => drop(fs::remove_file(self.beside(".tag"))),
            }
        }
        self.receive(response.into_body(), file, at, observer)
    }

    /// Appends a response's body to `file`, which has `at` bytes.
    fn receive(&self, body: Body, file: &mut File, mut at: u64, observer: &mut dyn Observer) -> Result<(), Failed> {
        let length = body.content_length().map(|rest| at + rest);
        let mut body = body.into_reader();
        let mut block = vec![0; BLOCK];
        let mut last_report = Instant::now();
        loop {
            let count = match body.read(&mut block) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failed::Again(self.error("it broke off").caused_by(error))),
            };
            file.write_all(&block[..count]).map_err(|error| self.unwritable(error))?;
            at += count as u64;
            if last_report.elapsed() > Duration::from_millis(100) {
                last_report = Instant::now();
                let total = length.unwrap_or(at).max(at);
                observer.progress(self.stage, (at / MEGABYTE) as usize, total.div_ceil(MEGABYTE) as usize)?;
            }
        }
        match length {
            Some(length) if length != at => {
                Err(Failed::Again(self.error(&format!("it broke off after {at} of {length} bytes"))))
            }
            _ => Ok(()),
        }
    }

    /// A file beside it.
    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(ending);
        name.into()
    }

    fn error(&self, message: &str) -> Error {
        Error::new(ErrorKind::Data, files::without_query(self.url), message)
            .hint("run the same command again: it resumes the download; or download the files first and name those")
    }

    fn unwritable(&self, error: io::Error) -> Failed {
        Failed::Finally(Error::io(&self.beside(".part"), "write it", error).hint(cache::HINT))
    }

    fn refused(&self, status: StatusCode) -> Failed {
        let error = self.error(&format!("the server answers {status}"));
        match status.is_server_error() || [429, 408].contains(&status.as_u16()) {
            true => Failed::Again(error),
            false => Failed::Finally(error.hint(ITSELF)),
        }
    }

    fn unreachable(&self, error: ureq::Error) -> Failed {
        match error {
            // Without the cause: its text may hold the query string.
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                Failed::Finally(self.error("it is no URL").hint("check `data.path`: it may have no spaces"))
            }
            ureq::Error::Protocol(_) => Failed::Finally(self.error("the server's answer makes no sense").hint(ITSELF)),
            error if error.to_string().contains("certificate") => {
                let hint = "if a proxy of yours signs what it passes on, name its certificates' file by SSL_CERT_FILE";
                Failed::Finally(self.error("the server's certificate is not trusted").caused_by(error).hint(hint))
            }
            error => Failed::Again(self.error("the server cannot be reached").caused_by(error)),
        }
    }
}

/// The validator of this version of the file: a strong ETag, or when it was last modified.
fn tag_of(response: &Response<Body>) -> Option<String> {
    let header = |name| response.headers().get(name)?.to_str().ok().map(str::to_owned);
    // A weak ETag does not promise equal bytes.
    header(header::ETAG).filter(|tag| !tag.starts_with("W/")).or_else(|| header(header::LAST_MODIFIED))
}

/// Whether it is a web page, such as a login.
fn is_page(response: &Response<Body>) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/html"))
}

/// Whether a partial response starts at byte `at`.
fn starts_at(response: &Response<Body>, at: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let first = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
    first == Some(at)
}
