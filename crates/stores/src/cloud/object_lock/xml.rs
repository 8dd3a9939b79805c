//! The few answers of S3 about locks and versions.
//!
//! Source: AWS, "ListObjectVersions", "GetObjectRetention", "GetObjectLockConfiguration".

use rekindle_vault::store::{ObjectVersion, PageMark};

use super::super::name::Names;
use crate::xml::next_version;
pub(super) use crate::xml::{text, time, unescaped};

/// A page of versions; names that are not ours are left out.
pub(super) fn versions(
    xml: &str,
    names: &Names,
) -> Result<(Vec<ObjectVersion>, Option<PageMark>), String> {
    if !xml.contains("<ListVersionsResult") {
        return Err("this is no list of versions".to_owned());
    }
    let mut versions = Vec::new();
    let mut rest = xml;
    while let Some((is_marker, inner, after)) = next_version(rest)? {
        versions.extend(version(inner, is_marker, names)?);
        rest = after;
    }
    let next = match text(xml, "IsTruncated") {
        Some("true") => Some(PageMark {
            key: unescaped(text(xml, "NextKeyMarker").ok_or("the list goes on, but not where")?)?,
            version: match text(xml, "NextVersionIdMarker") {
                Some("") | None => None,
                Some(version) => Some(unescaped(version)?),
            },
        }),
        Some("false") => None,
        _ => return Err("it does not say whether the list goes on".to_owned()),
    };
    Ok((versions, next))
}

fn version(xml: &str, is_marker: bool, names: &Names) -> Result<Option<ObjectVersion>, String> {
    let field = |name: &str| text(xml, name).ok_or_else(|| format!("a version has no {name}"));
    let name = unescaped(field("Key")?)?;
    let path = object_store::path::Path::parse(&name);
    let Some(key) = path.ok().and_then(|path| names.key(&path)) else {
        return Ok(None);
    };
    let size_bytes = match is_marker {
        true => 0,
        false => field("Size")?
            .parse()
            .map_err(|_| "a version's Size is no number")?,
    };
    Ok(Some(ObjectVersion {
        key,
        id: unescaped(field("VersionId")?)?,
        is_latest: field("IsLatest")? == "true",
        is_marker,
        modified: time(xml, "LastModified")?,
        size_bytes,
        tag: unescaped(text(xml, "ETag").unwrap_or_default())?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "<?xml version=\"1.0\"?><ListVersionsResult xmlns=\"x\"><Name>b</Name>\
        <IsTruncated>true</IsTruncated><NextKeyMarker>v/data/&amp;x</NextKeyMarker>\
        <NextVersionIdMarker>m.1</NextVersionIdMarker>\
        <DeleteMarker><Key>v/config</Key><VersionId>d1</VersionId><IsLatest>true</IsLatest>\
        <LastModified>2026-11-21T12:00:01.5Z</LastModified><Owner><ID>o</ID></Owner></DeleteMarker>\
        <Version><Key>v/config</Key><VersionId>v&#49;</VersionId><IsLatest>false</IsLatest>\
        <LastModified>2026-11-21T12:00:00Z</LastModified><ETag>&quot;e&quot;</ETag><Size>155</Size></Version>\
        <Version><Key>other</Key><VersionId>1</VersionId><IsLatest>true</IsLatest>\
        <LastModified>2026-11-21T12:00:00Z</LastModified><Size>1</Size></Version></ListVersionsResult>";

    #[test]
    fn versions_and_markers_come_in_their_order_and_names_of_others_are_left_out() {
        let names = Names::in_folder("v");
        let (versions, next) = versions(PAGE, &names).unwrap();
        assert_eq!(versions.len(), 2);
        let (marker, version) = (&versions[0], &versions[1]);
        assert!(marker.is_marker && marker.is_latest && !version.is_marker);
        assert_eq!((version.id.as_str(), version.size_bytes), ("v1", 155));
        assert_eq!(version.tag, "\"e\"");
        assert_eq!(version.key, marker.key);
        let next = next.unwrap();
        assert_eq!(
            (next.key.as_str(), next.version.as_deref()),
            ("v/data/&x", Some("m.1"))
        );
    }

    #[test]
    fn a_cut_list_and_an_answer_to_another_question_are_refused() {
        let names = Names::in_folder("v");
        let cut = &PAGE[..PAGE.len() - 60];
        for wrong in [
            cut.to_owned(),
            PAGE.replace("<NextKeyMarker>", "<Other>"),
            PAGE.replace("<IsTruncated>true</IsTruncated>", ""),
            PAGE.replace("155", "many"),
            PAGE.replace("&amp;", "&nbsp;"),
            "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>".to_owned(),
        ] {
            assert!(versions(&wrong, &names).is_err(), "{wrong}");
        }
    }
}
