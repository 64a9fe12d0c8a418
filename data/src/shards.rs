//! Tar shards as WebDataset has them: the members of a sample have one key, the path up to the first dot of its last part:
//! `000017.mp4` with `000017.txt`, `000017.json` and perhaps `000017.wav`.
//!
//! A shard is read once from header to header, which says where each member lies; media are then read where they lie. So
//! any sample can be asked for at any time: shards need no buffer to be shuffled, and training goes on from the very sample
//! at which it stopped. Shards at URLs are downloaded first, each once.

use crate::captions::{self, LONGEST};
use crate::scan::{self, CaptionRules, Found, Listing};
use musiva_core::files::{is_url, without_query};
use musiva_core::{ConfigError, Error, ErrorKind, Result};
use musiva_media::Location;
use serde_json::Value;
use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};
use tar::{Archive, EntryType};

/// Shards that a pattern may name.
const MOST: usize = 100_000;
/// Bytes of the headers of one member: an archive can give it a name of any length.
const LARGEST_HEADERS: u64 = 1 << 16;
/// Bytes of a `.json` at most.
const LARGEST_JSON: u64 = 1 << 20;
/// What paths of other machines that are not read begin with; a recipe's folder may stand in front of it.
const REMOTE: [&str; 8] = ["s3:", "gs:", "gcs:", "az:", "abfs:", "hf:", "ftp:", "ssh:"];
/// What compressed shards end with.
const COMPRESSED: [&str; 6] = [".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2", ".tar.lz4"];

/// Where the members of shards lie.
#[derive(Debug, Default)]
pub(crate) struct Shards {
    /// By the path that their names make behind that of their shard.
    members: HashMap<PathBuf, Member>,
    /// The sounds that lie beside clips.
    sounds: HashMap<PathBuf, Member>,
}

/// A part of a shard.
#[derive(Clone, Debug)]
struct Member {
    shard: Arc<Path>,
    bytes: Range<u64>,
}

impl Member {
    fn location(&self, name: &Path) -> Location {
        Location::part(&*self.shard, self.bytes.clone(), name)
    }
}

impl Shards {
    /// Where the member with this path lies.
    ///
    /// # Errors
    /// Where there is none.
    pub fn location(&self, path: &Path) -> Result<Location> {
        let none = || Error::new(ErrorKind::Data, path.display().to_string(), "no shard has this member");
        self.members.get(path).map(|member| member.location(path)).ok_or_else(none)
    }

    /// Where the sound beside the clip with this path lies.
    pub fn sound(&self, path: &Path) -> Option<Location> {
        self.sounds.get(path).map(|member| member.location(path))
    }
}

/// Whether a path names shards, as no folder of files is called.
pub(crate) fn named(path: &str) -> bool {
    path.ends_with(".tar") || COMPRESSED.iter().any(|end| path.ends_with(end)) || remote(path).is_some() || is_url(path)
}

/// The URLs that `path` stands for; none where it is a path of this machine.
pub(crate) fn urls(path: &str) -> Vec<String> {
    // `missing` reports what is wrong with a pattern.
    if is_url(path) { expand(path).unwrap_or_default() } else { Vec::new() }
}

/// Where the shards of `path` lie once they are downloaded to `folder`; `None` where it is a path of this machine.
pub(crate) fn fetched(path: &str, folder: &Path) -> Option<String> {
    is_url(path).then(|| fetched_path(path, folder).display().to_string())
}

/// Where the file at a URL is put below `folder`: at `folder/HOST/PATH`. A pattern stays one.
pub fn fetched_path(url: &str, folder: &Path) -> PathBuf {
    let (_, place) = url.split_once("://").unwrap_or(("", url));
    let names = without_query(place).split('/').filter(|name| !matches!(*name, "" | "." | ".."));
    names.fold(folder.to_owned(), |path, name| path.join(name.replace([':', '\\'], "_")))
}

/// What is wrong with a path that is a URL.
fn wrong_url(path: &str) -> Option<ConfigError> {
    let example = "name .tar files, as in `path = \"https://example.org/shards-{000..127}.tar\"`";
    let place = without_query(path);
    let message = match expand(path) {
        Err(why) => why,
        _ if path[place.len()..].contains(['{', '}']) => "there are braces in the query string".to_owned(),
        _ if !place.ends_with(".tar") => format!("{place} names no .tar file"),
        _ if place.split_once("://").is_none_or(|(_, place)| place.starts_with(['/', '.', '@', ':'])) => {
            format!("{place} names no host")
        }
        Ok(_) => return None,
    };
    Some(ConfigError::new("path", message, example))
}

/// What a path of another machine begins with.
fn remote(path: &str) -> Option<&str> {
    let first = if path.starts_with("pipe:") { Some("pipe:") } else { None };
    first.or_else(|| path.split(['/', '\\']).find(|part| REMOTE.contains(part)))
}

/// What is wrong where `path` names no shards that are there.
pub(crate) fn missing(path: &str) -> Option<ConfigError> {
    let wrong = |message: String, hint: &str| Some(ConfigError::new("path", message, hint));
    let example = "name yours, as in `path = \"shards-{000..127}.tar\"`, or a folder of .tar files";
    if path.is_empty() {
        return wrong("no shards are named".to_owned(), example);
    }
    if let Some(remote) = remote(path) {
        let message = format!("shards are read from this machine or by HTTP, and this path begins with `{remote}`");
        return wrong(message, "name their URLs at `https://`, or download them first and name the files");
    }
    if COMPRESSED.iter().any(|end| path.ends_with(end)) {
        let message = "members of compressed shards cannot be found without reading all before them".to_owned();
        return wrong(message, "unpack the shards first, as by `gunzip *.tar.gz`: media are compressed already");
    }
    if is_url(path) {
        return wrong_url(path);
    }
    match paths(path) {
        Err(why) => wrong(why, example),
        Ok(paths) if paths.is_empty() => wrong(format!("the folder {path} holds no .tar files"), example),
        Ok(paths) => {
            let gone: Vec<_> = paths.iter().filter(|path| !path.is_file()).collect();
            let (first, count) = (gone.first()?.display(), paths.len());
            wrong(format!("of {count} shards {} are not there, such as {first}", gone.len()), example)
        }
    }
}

/// The shards that `path` names: a file, those of a folder, or those of a pattern, in order.
pub(crate) fn paths(path: &str) -> Result<Vec<PathBuf>, String> {
    let whole = Path::new(path);
    if whole.is_dir() {
        let entries = whole.read_dir().map_err(|error| format!("the folder {path} cannot be listed: {error}"))?;
        let tar = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "tar");
        let hidden = |path: &PathBuf| path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| tar(path) && !hidden(path));
        paths.sort();
        return Ok(paths);
    }
    if whole.exists() {
        return Ok(vec![whole.to_owned()]);
    }
    Ok(expand(path)?.into_iter().map(PathBuf::from).collect())
}

/// All that a pattern stands for: `{000..127}` counts, `{a,b}` lists.
fn expand(pattern: &str) -> Result<Vec<String>, String> {
    let mut all = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, behind)) = rest.split_once('{') {
        let (braced, behind) = behind.split_once('}').ok_or("a `{` without its `}`")?;
        let choices = choices(braced)?;
        if all.len().saturating_mul(choices.len()) > MOST {
            return Err(format!("it names more than {MOST} shards"));
        }
        all = all.iter().flat_map(|start| choices.iter().map(move |one| format!("{start}{before}{one}"))).collect();
        rest = behind;
    }
    all.iter_mut().for_each(|path| path.push_str(rest));
    Ok(all)
}

/// What stands between braces.
fn choices(braced: &str) -> Result<Vec<String>, String> {
    if let Some((first, last)) = braced.split_once("..") {
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<usize>().ok());
        if let (Some(Some(from)), Some(Some(to))) = (number(first), number(last))
            && from <= to
            && to - from < MOST
        {
            // Zeros in front say how wide the numbers are.
            let padded = [first, last].iter().any(|text| text.len() > 1 && text.starts_with('0'));
            let width = if padded { first.len().max(last.len()) } else { 0 };
            return Ok((from..=to).map(|number| format!("{number:0width$}")).collect());
        }
    } else if braced.contains(',') {
        return Ok(braced.split(',').map(str::to_owned).collect());
    }
    Err(format!("`{{{braced}}}` is neither `{{000..127}}`, up to {MOST} of them, nor `{{a,b}}`"))
}

/// A sample of a shard: its members by their extensions.
struct Group {
    key: String,
    members: Vec<(String, Range<u64>)>,
}

/// Lists the samples of the shards of `path`: those with a member of one of the `extensions`, the first of which counts,
/// with their captions from `.json` or else from `.txt`. The names of samples are those of their shards and members. What is
/// wrong with one of them is noted, and the others are read.
///
/// # Errors
/// Where the shards are not there.
pub(crate) fn scan(path: &str, extensions: &[&str], rules: CaptionRules) -> Result<(Listing, Shards)> {
    if let Some(ConfigError { message, hint, .. }) = missing(path) {
        return Err(Error::new(ErrorKind::Data, "data.path", message).hint(hint));
    }
    if is_url(path) {
        let message = "these shards lie at URLs, and were not downloaded";
        return Err(
            Error::new(ErrorKind::Data, "data.path", message).hint("call `musiva::fetch` with the recipe first")
        );
    }
    let (mut listing, mut shards) = (Listing::default(), Shards::default());
    let mut unread = BTreeMap::<String, (u64, String)>::new();
    for path in paths(path).map_err(|why| Error::new(ErrorKind::Data, "data.path", why))? {
        let shard: Arc<Path> = path.clone().into();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let read = File::open(&path).and_then(|file| Ok((members(file.try_clone()?)?, file)));
        let ((groups, broken), mut file) = match read {
            Ok(read) => read,
            Err(error) => {
                listing.passed.push(format!("{name}: {error}"));
                continue;
            }
        };
        listing.passed.extend(broken.map(|why| format!("{name}: {why}")));
        for Group { key, members } in groups {
            let find = |known: &[&str]| {
                let find = |one: &&str| members.iter().find(|(extension, _)| extension == one);
                known.iter().find_map(find)
            };
            let media = find(extensions);
            let alone: Vec<_> = scan::SOUNDS.iter().copied().filter(|known| !scan::CLIPS.contains(known)).collect();
            let sound = find(&alone);
            let texts = [find(&["json"]), find(&["txt"])];
            for (extension, _) in &members {
                let known = [media, sound].into_iter().chain(texts).flatten();
                if !known.map(|(known, _)| known).any(|known| known == extension) {
                    let example = || (0, format!("{name}/{key}.{extension}"));
                    unread.entry(extension.clone()).or_insert_with(example).0 += 1;
                }
            }
            let Some((extension, bytes)) = media else {
                let kinds: Vec<_> = members.iter().map(|(extension, _)| format!(".{extension}")).collect();
                listing.broken.push(format!("{name}/{key}: of its members ({}) none is read", kinds.join(", ")));
                continue;
            };
            let member = |bytes: &Range<u64>| Member { shard: shard.clone(), bytes: bytes.clone() };
            let found = Found {
                path: path.join(format!("{key}.{extension}")),
                name: format!("{name}/{key}.{extension}"),
                captions: captions_of(&mut file, texts.map(|text| text.map(|(_, bytes)| bytes)), rules)
                    .map(|captions| rules.tidy(captions, &key)),
            };
            shards.sounds.extend(sound.map(|(_, bytes)| (found.path.clone(), member(bytes))));
            if shards.members.insert(found.path.clone(), member(bytes)).is_none() {
                listing.found.push(found);
            }
        }
    }
    let unread = unread.into_iter().map(|(extension, (count, example))| match count {
        1 => example,
        count => format!("{count} .{extension}, such as {example}"),
    });
    listing.unread.extend(unread);
    Ok((listing, shards))
}

/// The captions of a sample: those in its `.json`, or else its `.txt`.
fn captions_of(
    file: &mut File,
    [json, text]: [Option<&Range<u64>>; 2],
    rules: CaptionRules,
) -> Result<Vec<String>, String> {
    if let Some(bytes) = json {
        let bytes = content(file, bytes, LARGEST_JSON).map_err(|why| format!("its .json {why}"))?;
        let Ok(Value::Object(object)) = serde_json::from_slice(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes))
        else {
            return Err("its .json is not an object like {\"text\": \"a red ring moves left\"}".to_owned());
        };
        let captions = captions::of_object(&object, rules.columns)?;
        if !captions.is_empty() {
            return Ok(captions);
        }
    }
    let Some(bytes) = text else { return Ok(Vec::new()) };
    let bytes = content(file, bytes, LONGEST as u64).map_err(|why| format!("its .txt {why}"))?;
    let text = String::from_utf8(bytes).map_err(|_| "its .txt is not UTF-8: save it as UTF-8")?;
    Ok(vec![text])
}

/// The bytes of a small member.
fn content(file: &mut File, bytes: &Range<u64>, most: u64) -> Result<Vec<u8>, String> {
    let size = bytes.end - bytes.start;
    if size > most {
        return Err(format!("has {size} bytes, more than {most}"));
    }
    let mut content = vec![0; size as usize];
    let read = file.seek(SeekFrom::Start(bytes.start)).and_then(|_| file.read_exact(&mut content));
    read.map(|()| content).map_err(|error| format!("cannot be read: {error}"))
}

/// The samples of a shard in the order of their first members, and what is wrong with the shard.
fn members(file: File) -> io::Result<(Vec<Group>, Option<String>)> {
    let length = file.metadata()?.len();
    let left = Rc::new(Cell::new(LARGEST_HEADERS));
    let mut archive = Archive::new(Headers { file, left: left.clone() });
    let (mut groups, mut places) = (Vec::<Group>::new(), HashMap::<String, usize>::new());
    let damaged = |count: usize| match count {
        0 => "it is no tar archive".to_owned(),
        count => format!("it is damaged or cut off behind member {count}"),
    };
    for (count, entry) in archive.entries_with_seek()?.enumerate() {
        left.set(LARGEST_HEADERS);
        let Ok(entry) = entry else { return Ok((groups, Some(damaged(count)))) };
        let (start, size) = (entry.raw_file_position(), entry.size());
        let Some(end) = start.checked_add(size).filter(|&end| end <= length) else {
            return Ok((groups, Some(damaged(count))));
        };
        let name = String::from_utf8_lossy(&entry.path_bytes()).replace('\\', "/");
        let name = name.trim_start_matches("./");
        let (folder, last) = name.rsplit_once('/').map_or(("", name), |(folder, last)| (folder, last));
        let regular = matches!(entry.header().entry_type(), EntryType::Regular | EntryType::Continuous);
        let Some((stem, extension)) = last.split_once('.').filter(|(stem, _)| regular && !stem.is_empty()) else {
            continue;
        };
        let key = if folder.is_empty() { stem.to_owned() } else { format!("{folder}/{stem}") };
        let place = *places.entry(key.clone()).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Group { key, members: Vec::new() });
        }
        groups[place].members.push((extension.to_lowercase(), start..end));
    }
    Ok((groups, None))
}

/// A shard of which so many bytes are read until more are allowed: what one member's headers can make the crate hold in
/// memory is bounded.
struct Headers {
    file: File,
    left: Rc<Cell<u64>>,
}

impl Read for Headers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.ok_or_else(|| io::Error::other("the headers of a member are too long"))?);
        Ok(count)
    }
}

impl Seek for Headers {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn shard(path: &Path, members: &[(&str, &[u8])]) {
        let mut out = tar::Builder::new(File::create(path).unwrap());
        for (name, content) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            out.append_data(&mut header, name, *content).unwrap();
        }
        out.into_inner().unwrap();
    }

    fn rules(columns: &[String]) -> CaptionRules<'_> {
        CaptionRules { columns, folders: false }
    }

    #[test]
    fn patterns_count_and_list() {
        let of = |pattern: &str| expand(pattern).unwrap().join(" ");
        assert_eq!(of("a-{008..011}.tar"), "a-008.tar a-009.tar a-010.tar a-011.tar");
        assert_eq!(of("{9..11}"), "9 10 11");
        assert_eq!(of("{a,b}/{0..1}.tar"), "a/0.tar a/1.tar b/0.tar b/1.tar");
        assert_eq!(of("plain.tar"), "plain.tar");
        for wrong in ["{3..1}", "{a..b}", "{0..3", "{}", "{-1..3}", "{0..9999}{0..9999}", "{0..99999999999999999999}"] {
            assert!(expand(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_url_becomes_a_path_below_the_folder() {
        let of = |url: &str| fetched_path(url, Path::new("/cache")).display().to_string();
        assert_eq!(of("https://host:8000/b/{a,c}/x-{0..1}.tar?key=1#2"), "/cache/host_8000/b/{a,c}/x-{0..1}.tar");
        assert_eq!(of("http://host/../..//etc/./x.tar"), "/cache/host/etc/x.tar");
        assert_eq!(urls("http://h/a-{0..1}.tar").join(" "), "http://h/a-0.tar http://h/a-1.tar");
        assert!(urls("a-{0..1}.tar").is_empty());
    }

    #[test]
    fn members_of_one_key_are_a_sample() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s-0.tar");
        let long = format!("{}/0003.mp4", "deep/".repeat(40));
        let members: [(&str, &[u8]); 14] = [
            ("0001.mp4", b"clip one"),
            ("0001.txt", b"\xef\xbb\xbf a ring \n"),
            ("0002.json", b"{\"caption\": [\"a square\", \"a box\"], \"fps\": 8}"),
            ("0002.txt", b"not this"),
            ("0002.wav", b"sound two"),
            ("0002.mp4", b"clip two"),
            ("0002.cls", b"7"),
            (&long, b"clip three"),
            ("0004.txt", b"without a clip"),
            ("0005.jpg", b"a picture"),
            ("0005.mp4", b"its clip"),
            ("0005.txt", b"\xff"),
            (".hidden.mp4", b""),
            ("0006.cls", b"7"),
        ];
        shard(&path, &members);
        let (listing, shards) = scan(path.to_str().unwrap(), scan::CLIPS, rules(&[])).unwrap();
        let found: Vec<_> =
            listing.found.iter().map(|f| (f.name.rsplit('/').next().unwrap(), f.captions.clone())).collect();
        let two = vec!["a square".to_owned(), "a box".to_owned()];
        assert_eq!(found[0], ("0001.mp4", Ok(vec!["a ring".to_owned()])));
        assert_eq!((&found[1], &found[2]), (&("0002.mp4", Ok(two)), &("0003.mp4", Ok(Vec::new()))));
        assert!(found[3].0 == "0005.mp4" && found[3].1.as_ref().unwrap_err().contains("UTF-8") && found.len() == 4);
        assert_eq!(listing.unread, ["2 .cls, such as s-0.tar/0002.cls", "s-0.tar/0005.jpg"]);
        assert_eq!(listing.broken.len(), 2, "{:?}", listing.broken);
        assert!(listing.broken[0].starts_with("s-0.tar/0004: of its members (.txt) none is read"));
        // Where they lie.
        let whole = fs::read(&path).unwrap();
        let at = |member: &Member| whole[member.bytes.start as usize..member.bytes.end as usize].to_vec();
        assert_eq!(at(&shards.members[&path.join("0002.mp4")]), b"clip two");
        assert_eq!(at(&shards.members[&path.join(&long)]), b"clip three");
        assert_eq!(at(&shards.sounds[&path.join("0002.mp4")]), b"sound two");
        assert!(shards.sound(&path.join("0001.mp4")).is_none() && shards.location(Path::new("no")).is_err());
        let (named, _) = scan(path.to_str().unwrap(), scan::CLIPS, rules(&["fps".into()])).unwrap();
        assert_eq!(named.found[1].captions, Ok(vec!["8".to_owned()]));
        let (sounds, _) = scan(path.to_str().unwrap(), &["wav"], rules(&[])).unwrap();
        assert_eq!(sounds.found.len(), 1);
    }

    #[test]
    fn a_damaged_shard_gives_what_lies_before_the_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        shard(&path, &[("1.mp4", &[1; 900]), ("2.mp4", &[2; 900]), ("3.mp4", &[3; 900])]);
        let whole = fs::read(&path).unwrap();
        let text = folder.path().display().to_string();
        let of = || {
            let (listing, _) = scan(&text, scan::CLIPS, rules(&[])).unwrap();
            (listing.found.len(), listing.passed)
        };
        assert_eq!(of(), (3, vec![]));
        fs::write(&path, &whole[..2000]).unwrap();
        assert_eq!(of(), (1, vec!["a.tar: it is damaged or cut off behind member 1".to_owned()]));
        let mut wrong = whole.clone();
        wrong[1536 + 20] ^= 1;
        fs::write(&path, &wrong).unwrap();
        assert_eq!(of().0, 1);
        fs::write(&path, b"no tar at all".repeat(100)).unwrap();
        assert_eq!(of(), (0, vec!["a.tar: it is no tar archive".to_owned()]));
        // A name that says it has a gigabyte.
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 30);
        header.set_cksum();
        fs::write(&path, [&header.as_bytes()[..], &[b'x'; 1 << 18]].concat()).unwrap();
        assert_eq!(of().0, 0);
    }

    #[test]
    fn what_is_not_there_is_said_with_a_mend() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let said = |path: &str| missing(path).map(|error| format!("{} {}", error.message, error.hint));
        assert!(said("").unwrap().contains("no shards are named"));
        assert!(said(&at("s3:/host/a-{0..3}.tar")).unwrap().contains("begins with `s3:`"));
        assert!(said("pipe:curl x").unwrap().contains("download them first"));
        assert_eq!(said("https://host/a-{0..3}.tar?key=x"), None);
        assert!(said("https://host/a.tgz").unwrap().contains("compressed"));
        assert!(said("https://host/a.zip").unwrap().contains("names no .tar file"));
        assert!(said("https://host/a?b=.tar").unwrap().contains("names no .tar file"));
        assert!(said("https:///a.tar").unwrap().contains("names no host"));
        assert!(said("https://host/{a.tar").unwrap().contains("without its `}`"));
        assert!(said(&at("a.tar.gz")).unwrap().contains("gunzip"));
        assert!(said(&at("")).unwrap().contains("holds no .tar files"));
        shard(Path::new(&at("a-1.tar")), &[]);
        let gone = said(&at("a-{0..2}.tar")).unwrap();
        assert!(gone.contains("of 3 shards 2 are not there, such as ") && gone.contains("a-0.tar"), "{gone}");
        assert_eq!(said(&at("a-1.tar")), None);
        assert!(named("x.tar") && named("s3://b/x") && !named("clips"));
    }
}
