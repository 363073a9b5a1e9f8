//! Tar: the one form of a bundle as bytes, and what others wrote.

use crate::{Bundle, BundleError};

const BLOCK: usize = 512;
const NAME: usize = 100;
const PREFIX: usize = 155;
/// Bytes of a header that says more of the next file: a long name.
const MAX_EXTRA: usize = 64 * 1024;

/// Prefix and name of a path, as a header has them; none if it does not fit.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    if path.len() <= NAME {
        return Some(("", path));
    }
    let slashes = path.match_indices('/');
    let pairs = slashes.filter_map(|(at, _)| Some((path.get(..at)?, path.get(at + 1..)?)));
    let fits = |(prefix, name): &(&str, &str)| prefix.len() <= PREFIX && name.len() <= NAME;
    pairs.into_iter().find(fits)
}

pub(crate) fn write(bundle: &Bundle) -> Vec<u8> {
    let mut all = Vec::with_capacity(bundle.size().saturating_add(4 * BLOCK));
    for (path, content) in bundle.files() {
        let (prefix, name) = split(path).unwrap_or_default();
        let mut header = Vec::with_capacity(BLOCK);
        field(&mut header, name.as_bytes(), NAME);
        field(&mut header, b"0000644", 8);
        field(&mut header, b"0000000", 8);
        field(&mut header, b"0000000", 8);
        field(
            &mut header,
            format!("{:011o}", content.len()).as_bytes(),
            12,
        );
        field(&mut header, b"00000000000", 12);
        // The checksum is that of a header with blanks in its place.
        field(&mut header, b"        ", 8);
        field(&mut header, b"0", 1);
        field(&mut header, b"", 100);
        field(&mut header, b"ustar\x0000", 8);
        field(&mut header, b"", 80);
        field(&mut header, prefix.as_bytes(), PREFIX);
        field(&mut header, b"", 12);
        let sum = format!("{:06o}\0 ", checksum(&header));
        header.splice(148..156, sum.into_bytes());
        all.extend(header);
        all.extend(content);
        all.resize(all.len().next_multiple_of(BLOCK), 0);
    }
    all.resize(all.len().saturating_add(2 * BLOCK), 0);
    all
}

fn field(header: &mut Vec<u8>, text: &[u8], width: usize) {
    let end = header.len().saturating_add(width);
    header.extend(text);
    header.resize(end, 0);
}

fn checksum(header: &[u8]) -> u64 {
    header.iter().map(|byte| u64::from(*byte)).sum()
}

/// What somebody wrote: regular files, long names as GNU or POSIX have them, folders, which are left
/// out.
pub(crate) fn read(bytes: &[u8]) -> Result<Bundle, BundleError> {
    let mut bundle = Bundle::default();
    let mut long = None;
    let mut at = 0_usize;
    let mut entries = 0_usize;
    while let Some(header) = bytes.get(at..).and_then(|rest| rest.get(..BLOCK)) {
        if header.iter().all(|byte| *byte == 0) {
            return Ok(bundle);
        }
        // Folders and long names are no files, and are bounded all the same.
        entries += 1;
        if entries > 4 * crate::MAX_FILES {
            return Err(BundleError::TooMany);
        }
        let header = Header::read(header)?;
        let start = at.saturating_add(BLOCK);
        let content = bytes.get(start..).and_then(|rest| rest.get(..header.size));
        let content = content.ok_or_else(|| wrong("it ends in the middle of a file"))?;
        at = start.saturating_add(header.size.next_multiple_of(BLOCK));
        match header.kind {
            b'0' | 0 | b'7' => {
                let path = long.take().unwrap_or(header.path);
                let path = path.trim_start_matches("./");
                bundle.insert(path, content.to_vec())?;
            }
            b'5' => long = None,
            b'g' => {}
            b'L' => long = Some(text(extra(content)?)?),
            b'x' => long = pax(extra(content)?)?.or(long),
            b'1' | b'2' => {
                let path = long.unwrap_or(header.path);
                return Err(crate::wrong(
                    &path,
                    "it is a link; put the file itself there",
                ));
            }
            _ => {
                let path = long.unwrap_or(header.path);
                return Err(crate::wrong(&path, "it is no regular file"));
            }
        }
    }
    match at >= bytes.len() && at > 0 {
        true => Ok(bundle),
        false => Err(wrong("it is no tar")),
    }
}

struct Header {
    path: String,
    size: usize,
    kind: u8,
}

impl Header {
    fn read(header: &[u8]) -> Result<Self, BundleError> {
        let part = |from: usize, to: usize| header.get(from..to).unwrap_or_default();
        let told = octal(part(148, 156));
        let blank = |(at, byte): (usize, &u8)| match (148..156).contains(&at) {
            true => b' ',
            false => *byte,
        };
        let blank: Vec<u8> = header.iter().enumerate().map(blank).collect();
        if told != Some(checksum(&blank)) {
            return Err(wrong("it is no tar"));
        }
        let size = octal(part(124, 136)).and_then(|size| usize::try_from(size).ok());
        let name = text(part(0, NAME))?;
        let prefix = match part(257, 262) == b"ustar" && part(262, 263) == b"\0" {
            true => text(part(345, 500))?,
            false => String::new(),
        };
        Ok(Self {
            path: match prefix.is_empty() {
                true => name,
                false => format!("{prefix}/{name}"),
            },
            size: size
                .filter(|size| *size <= crate::MAX_BYTES)
                .ok_or(BundleError::TooLarge)?,
            kind: part(156, 157).first().copied().unwrap_or_default(),
        })
    }
}

/// Up to the first NUL.
fn text(bytes: &[u8]) -> Result<String, BundleError> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = std::str::from_utf8(text);
    Ok(text
        .map_err(|_| wrong("a name in it is not UTF-8"))?
        .to_owned())
}

fn octal(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

fn extra(content: &[u8]) -> Result<&[u8], BundleError> {
    match content.len() <= MAX_EXTRA {
        true => Ok(content),
        false => Err(wrong("a header in it is too large")),
    }
}

/// The path in a POSIX header: lines of `LENGTH KEY=VALUE`.
fn pax(content: &[u8]) -> Result<Option<String>, BundleError> {
    let lines = content.split(|byte| *byte == b'\n');
    let mut fields = lines.filter_map(|line| {
        let space = line.iter().position(|byte| *byte == b' ')?;
        line.get(space + 1..)?.strip_prefix(b"path=")
    });
    fields.next_back().map(text).transpose()
}

fn wrong(reason: &str) -> BundleError {
    BundleError::Archive(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(path: &str, kind: u8) -> Vec<u8> {
        let mut bundle = Bundle::default();
        bundle.insert(path, b"text".to_vec()).unwrap();
        let mut tar = write(&bundle);
        tar[156] = kind;
        seal(&mut tar);
        tar
    }

    fn seal(tar: &mut [u8]) {
        tar[148..156].fill(b' ');
        let sum = format!("{:06o}\0 ", checksum(&tar[..512]));
        tar[148..156].copy_from_slice(sum.as_bytes());
    }

    #[test]
    fn the_form_is_as_it_always_was() {
        let mut bundle = Bundle::default();
        bundle
            .insert("operator.yaml", b"default: {}\n".to_vec())
            .unwrap();
        bundle
            .insert("charts/web/Chart.yaml", b"name: web\n".to_vec())
            .unwrap();
        assert_eq!(
            bundle.digest(),
            "sha256:e81155fc36c4df403552eae040397133db9c39f3d94d6f24299553306c051c68"
        );
    }

    #[test]
    fn links_and_devices_are_refused_and_names_that_lead_out() {
        for (kind, told) in [
            (b'1', "link"),
            (b'2', "link"),
            (b'3', "regular"),
            (b'6', "regular"),
        ] {
            let error = read(&one("a", kind)).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        let mut out = one("aa/b", b'0');
        out[..2].copy_from_slice(b"..");
        seal(&mut out);
        assert!(read(&out).unwrap_err().to_string().contains("leads out"));
        let mut cut = one("a", b'0');
        cut.truncate(514);
        assert!(read(&cut).is_err());
        let mut large = one("a", b'0');
        large[124..136].copy_from_slice(b"77777777777\0");
        seal(&mut large);
        assert!(matches!(read(&large), Err(BundleError::TooLarge)));
        assert!(read(b"").is_err() && read(&[1; 2_000]).is_err());
    }

    #[test]
    fn long_names_of_other_programs_are_read() {
        let path = format!("{}/{}", "d".repeat(120), "f".repeat(90));
        for (kind, content) in [
            (b'L', format!("{path}\0")),
            (b'x', format!("221 path={path}\n")),
        ] {
            let mut bundle = Bundle::default();
            bundle.insert("long", content.into_bytes()).unwrap();
            let mut tar = write(&bundle);
            tar.truncate(1_024);
            tar[156] = kind;
            seal(&mut tar);
            tar.extend(one("short", b'0'));
            let read = read(&tar).unwrap();
            assert_eq!(read.paths().collect::<Vec<_>>(), [path.as_str()]);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(files in proptest::collection::btree_map(
            "[a-z]{1,90}(/[a-z]{1,90}){0,2}", proptest::collection::vec(any::<u8>(), 0..1_100), 0..6)
        ) {
            let mut bundle = Bundle::default();
            for (path, content) in files {
                // A path may not fit, or a folder be a file.
                let _ = bundle.insert(&path, content);
            }
            let bytes = bundle.to_bytes();
            prop_assert_eq!(Bundle::parse(&bytes).unwrap(), bundle);
        }

        #[test]
        fn rubbish_is_refused_and_nothing_worse(mut bytes in proptest::collection::vec(any::<u8>(), 0..3_000), seals in any::<bool>()) {
            if seals && bytes.len() >= 512 {
                seal(&mut bytes);
            }
            let _ = read(&bytes);
        }
    }
}
