//! Tables of text: CSV as RFC 4180 has it.
//!
//! Fields are parted by commas, records by line breaks (`\r\n`, `\n` or `\r`). A field in double quotes may hold both, and
//! double quotes as pairs of them. Empty lines are passed over. A record that breaks these rules is told as broken, and
//! reading goes on at the line after its first one, so that a quote that is never closed costs one line, not all that follow.

/// Bytes of a record at most.
pub(crate) const LONGEST: usize = 65_536;

/// The records of a table, in order.
pub(crate) struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

/// A record: the fields in it, or what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Number of its first line, from 1.
    pub line: usize,
    pub fields: Result<Vec<String>, String>,
}

impl<'a> Records<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, line: 1 }
    }

    /// Where the line of the byte at `at` ends: behind its break.
    fn next_line(&self, at: usize) -> usize {
        let rest = &self.bytes[at..];
        let end = at + rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
        end + line_break(self.bytes, end)
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            let empty = line_break(self.bytes, self.at);
            if empty == 0 {
                break;
            }
            (self.at, self.line) = (self.at + empty, self.line + 1);
        }
        if self.at >= self.bytes.len() {
            return None;
        }
        let line = self.line;
        let (fields, end) = match record(self.bytes, self.at) {
            Ok((fields, end)) => (Ok(fields), end),
            Err(why) => (Err(why), self.next_line(self.at)),
        };
        while self.at < end {
            self.at = self.next_line(self.at).min(end);
            self.line += 1;
        }
        Some(Record { line, fields })
    }
}

/// How many bytes the line break at `at` has; 0: there is none.
fn line_break(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at..).unwrap_or_default() {
        [b'\r', b'\n', ..] => 2,
        [b'\r' | b'\n', ..] => 1,
        _ => 0,
    }
}

/// The fields of the record that starts at `start`, and where the next one starts.
fn record(bytes: &[u8], start: usize) -> Result<(Vec<String>, usize), String> {
    let mut fields = Vec::new();
    let mut at = start;
    loop {
        let mut field = Vec::new();
        let quoted = bytes.get(at) == Some(&b'"');
        at += usize::from(quoted);
        loop {
            if at - start > LONGEST {
                return Err(format!("it is longer than {LONGEST} bytes: is a quote missing?"));
            }
            match (bytes.get(at), quoted) {
                (None, true) => return Err("its quote is never closed".into()),
                (None | Some(b',' | b'\r' | b'\n'), false) => break,
                (Some(b'"'), true) if bytes.get(at + 1) == Some(&b'"') => at += 1,
                (Some(b'"'), true) => {
                    at += 1;
                    break;
                }
                _ => {}
            }
            field.extend(bytes.get(at));
            at += 1;
        }
        fields.push(String::from_utf8(field).map_err(|_| "it is not UTF-8: save the file as UTF-8")?);
        match bytes.get(at) {
            Some(b',') => at += 1,
            None | Some(b'\r' | b'\n') => return Ok((fields, at + line_break(bytes, at))),
            Some(_) => return Err("a quote is closed before its field ends: write a quote in a text twice".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines and fields; of a broken record, a line and nothing.
    fn read(text: &str) -> Vec<(usize, Vec<String>)> {
        Records::new(text.as_bytes()).map(|record| (record.line, record.fields.unwrap_or_default())).collect()
    }

    fn wanted(records: &[(usize, &[&str])]) -> Vec<(usize, Vec<String>)> {
        records.iter().map(|(line, fields)| (*line, fields.iter().map(|&field| field.to_owned()).collect())).collect()
    }

    #[test]
    fn records_are_those_of_the_standard() {
        for end in ["\n", "\r\n", "\r"] {
            let text = ["a.mp4,a red ring", "", "b.mp4,\"a ring, \"\"red\"\"\"", ",\"\"", "last,"].join(end);
            let records = wanted(&[
                (1, &["a.mp4", "a red ring"]),
                (3, &["b.mp4", "a ring, \"red\""]),
                (4, &["", ""]),
                (5, &["last", ""]),
            ]);
            assert_eq!(read(&text), records);
            assert_eq!(read(&(text + end)), records, "with a break at its end");
        }
        assert_eq!(read(""), []);
        assert_eq!(read("\n\r\n"), []);
        // A quote inside a field without quotes is a quote.
        assert_eq!(read("5\" ring, \"red\""), wanted(&[(1, &["5\" ring", " \"red\""])]));
    }

    #[test]
    fn breaks_within_quotes_belong_to_the_text_and_count_as_lines() {
        let text = "\"one\r\ntwo\n\",x\r\n\"\n\n\"\ny";
        assert_eq!(read(text), wanted(&[(1, &["one\r\ntwo\n", "x"]), (4, &["\n\n"]), (7, &["y"])]));
    }

    #[test]
    fn a_broken_record_costs_its_own_line_alone() {
        let broken = |text: &[u8], says: &str| {
            let lines: Vec<_> = [b"a,1", text, b"b,\"2\"", b"c,3"].join(&b'\n');
            let records: Vec<_> = Records::new(&lines).collect();
            let why = records[1].fields.as_ref().unwrap_err();
            assert!(why.contains(says), "{why}");
            let good: Vec<_> =
                records.iter().filter_map(|r| Some((r.line, r.fields.as_ref().ok()?.join(" ")))).collect();
            assert_eq!(good, [(1, "a 1".into()), (3, "b 2".into()), (4, "c 3".into())]);
        };
        broken(b"x,\"never closed", "closed before its field ends");
        broken(b"x,\"closed\" early", "closed before its field ends");
        broken(b"x,caf\xe9", "UTF-8");
        broken(&[&b"x,"[..], &[b'y'; LONGEST]].concat(), "longer than");
        let records: Vec<_> = Records::new(b"a\n\"b\nc").collect();
        assert!(records[1].fields.as_ref().unwrap_err().contains("never closed"));
        assert_eq!((records[2].line, &records[2].fields), (3, &Ok(vec!["c".to_owned()])));
    }
}
