//! Data that lie on other machines are fetched once, to the folder for what can be made again.

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

/// How often a file is asked for without a byte of it coming before its machine is given up, and the wait after the first
/// time.
const TRIES: u32 = 4;
const WAIT: Duration = Duration::from_millis(500);
/// How long a machine may be silent: then it is asked again, for the rest.
const ANSWER: Duration = Duration::from_secs(60);
/// Bytes of a file of certificates at most.
const LARGEST_CERTIFICATES: u64 = 1 << 24;
/// Bytes that are read at once.
const BLOCK: usize = 1 << 16;
/// What to do where an address does not give its file.
const ITSELF: &str = "open it in a browser: the address has to give the file itself, unasked";
/// Of what progress is told.
const MEGABYTE: u64 = 1_000_000;

/// Fetches the files of the recipe's data that lie on other machines, those that are not there yet, and lets the recipe read
/// them where they are now: in `data` below [`cache()`]. A file that was fetched is not asked for again; what an
/// interruption left of one is gone on with, where its machine can do that and it has not changed. Recipes whose data are
/// here are left as they are.
///
/// # Errors
/// Where a file cannot be fetched whole, or the folder cannot be written; and what `observer` returns.
pub fn fetch(recipe: &mut Recipe, observer: &mut dyn Observer) -> Result<()> {
    let Some(data) = &mut recipe.data else { return Ok(()) };
    let addresses = data.component.remote();
    if addresses.is_empty() {
        return Ok(());
    }
    let folder = cache()?.join("data");
    let agent = agent()?;
    let mut fetched = 0;
    let mut paths = BTreeMap::new();
    for address in &addresses {
        if paths.insert(fetched_path(address, &folder), address).is_some_and(|other| other != address) {
            let message =
                "two addresses differ in nothing but what comes behind `?`, and files are told apart by their paths";
            return Err(Error::new(ErrorKind::Data, "data.path", message).hint("fetch them first, and name the files"));
        }
    }
    for (i, address) in addresses.iter().enumerate() {
        let path = fetched_path(address, &folder);
        if !path.is_file() {
            let stage = match addresses.len() {
                1 => "fetch, MB".to_owned(),
                count => format!("fetch {} of {count}, MB", i + 1),
            };
            Fetch { agent: &agent, address, path: &path, stage: &stage }.run(observer)?;
            fetched += 1;
        }
    }
    if fetched > 0 {
        let kept = addresses.len() - fetched;
        observer.note(&format!("{fetched} files fetched, {kept} were here; all are kept in {}", folder.display()));
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

/// What asks for files. It trusts Mozilla's certificates; who has others, as behind the proxy of a company, names their file by
/// `SSL_CERT_FILE`, as for other programs.
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
        .timeout_connect(Some(ANSWER))
        .timeout_recv_response(Some(ANSWER))
        .timeout_per_read(Some(ANSWER))
        .http_status_as_error(false)
        .build();
    Ok(Agent::new_with_config(config))
}

/// A file that is fetched.
struct Fetch<'a> {
    agent: &'a Agent,
    address: &'a str,
    path: &'a Path,
    stage: &'a str,
}

/// Why a file could not be fetched.
enum Failed {
    /// Perhaps it goes better the next time.
    Again(Error),
    Finally(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Finally(error)
    }
}

impl Fetch<'_> {
    /// Fetches it. Other processes that want the same file wait.
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
                observer.note(&format!("another process fetches {}: waiting for it", self.path.display()));
                file.lock().map_err(failed)?;
            }
            // Not every file system has locks.
            Err(TryLockError::Error(_)) => {}
        }
        if self.path.is_file() {
            // Another process has just renamed its own; this one was made anew.
            let _ = fs::remove_file(&part);
            return Ok(());
        }
        // The most that has come so far: who gets further is not at the end of its tries.
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
        // Nobody needs it any more; it may never have been there.
        let _ = fs::remove_file(self.beside(".tag"));
        Ok(())
    }

    /// Asks for it once, from where `file` ends.
    fn once(&self, file: &mut File, observer: &mut dyn Observer) -> Result<(), Failed> {
        let failed = |error| Failed::Finally(Error::io(&self.beside(".part"), "write it", error).hint(cache::HINT));
        let mut at = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let tag = fs::read_to_string(self.beside(".tag")).ok();
        let mut request = self.agent.get(self.address);
        if let (1.., Some(tag)) = (at, &tag) {
            request = request.header(header::RANGE, format!("bytes={at}-")).header(header::IF_RANGE, tag);
        }
        let response = request.call().map_err(|error| self.unreachable(error))?;
        // Not every machine that knows ranges asks itself whether the file is still the same.
        let same = tag_of(&response).is_none_or(|found| Some(found) == tag);
        let rest = response.status() == StatusCode::PARTIAL_CONTENT && starts_at(&response, at) && same;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::PARTIAL_CONTENT if rest => {}
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if at > 0 => {
                // What is here is whole already, or of another file: from its start, then.
                file.set_len(0).map_err(failed)?;
                return Err(Failed::Again(self.error("the rest cannot be had by itself")));
            }
            status => return Err(self.refused(status)),
        }
        if is_page(&response) {
            return Err(Failed::Finally(self.error("the machine answers with a web page").hint(ITSELF)));
        }
        if !rest {
            file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
            at = 0;
            match tag_of(&response) {
                Some(tag) => fs::write(self.beside(".tag"), tag).map_err(failed)?,
                None => drop(fs::remove_file(self.beside(".tag"))),
            }
        }
        let length = response.body().content_length().map(|rest| at + rest);
        let mut body = response.into_body().into_reader();
        let mut block = vec![0; BLOCK];
        let mut told = Instant::now();
        loop {
            let count = match body.read(&mut block) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failed::Again(self.error("it broke off").caused_by(error))),
            };
            file.write_all(&block[..count]).map_err(failed)?;
            at += count as u64;
            if told.elapsed() > Duration::from_millis(100) {
                told = Instant::now();
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
        // What comes behind a question mark may be a key.
        let address = self.address.split(['?', '#']).next().unwrap_or_default();
        Error::new(ErrorKind::Data, address, message)
            .hint("run the same command again: it goes on from what has come; or fetch the files first and name those")
    }

    fn refused(&self, status: StatusCode) -> Failed {
        let error = self.error(&format!("the machine answers {status}"));
        match status.is_server_error() || [429, 408].contains(&status.as_u16()) {
            true => Failed::Again(error),
            false => {
                Failed::Finally(error.hint("open it in a browser: the address has to give the file itself, unasked"))
            }
        }
    }

    fn unreachable(&self, error: ureq::Error) -> Failed {
        match error {
            // Their texts hold the address, and it a key perhaps.
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                Failed::Finally(self.error("it is no address").hint("check `data.path`: it may have no spaces"))
            }
            ureq::Error::Protocol(_) => Failed::Finally(self.error("the machine's answer makes no sense").hint(ITSELF)),
            error if error.to_string().contains("certificate") => {
                let hint = "if a proxy of yours signs what it passes on, name its certificates' file by SSL_CERT_FILE";
                Failed::Finally(self.error("the machine's certificate is not trusted").caused_by(error).hint(hint))
            }
            error => Failed::Again(self.error("the machine cannot be reached").caused_by(error)),
        }
    }
}

/// What tells this content from another one of the same address.
fn tag_of(response: &Response<Body>) -> Option<String> {
    let header = |name| response.headers().get(name)?.to_str().ok().map(str::to_owned);
    // A weak tag is no promise that the bytes are the same.
    header(header::ETAG).filter(|tag| !tag.starts_with("W/")).or_else(|| header(header::LAST_MODIFIED))
}

/// Whether what comes is a page to be read, such as one that asks who one is.
fn is_page(response: &Response<Body>) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/html"))
}

/// Whether a part that was sent starts at byte `at`.
fn starts_at(response: &Response<Body>, at: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let first = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
    first == Some(at)
}
