//! Copies that the store makes by itself: small objects in one request, others in parts, a few at once.

use aws_sdk_s3::types::CompletedPart;

use super::{Address, S3, upload};
use crate::{Error, pieces};

/// Up to this many bytes an object is copied in one request, and of so many a part is: the store would take 5 GB, but be at it for
/// longer than an answer is waited for.
const ONE_REQUEST: u64 = 64 << 20;

/// Copies an object of that length to a name.
pub(super) async fn object(s3: &S3, from: &Address, name: &str, length: u64) -> Result<(), Error> {
    if length <= ONE_REQUEST {
        let _turn = s3.turns.acquire().await.expect("never closed");
        return s3.not_denied(|| whole(s3, from, name)).await;
    }
    let upload = upload::begin(s3, name, None).await?;
    let parts = pieces::each(0..length, ONE_REQUEST.max(length.div_ceil(upload::PARTS)), |number, range| {
        let (s3, name, upload, source) = (s3.clone(), name.to_owned(), upload.clone(), from.source());
        async move {
            let _turn = s3.turns.acquire().await.expect("never closed");
            let number = number as i32 + 1;
            let request = s3.client.upload_part_copy().bucket(&s3.bucket).key(s3.key(&name)).upload_id(&*upload);
            let request = request.part_number(number).copy_source(source);
            let request = request.copy_source_range(format!("bytes={}-{}", range.start, range.end - 1));
            let copied = request.send().await.map_err(|error| s3.failure(&name, "copy", error))?;
            let part = CompletedPart::builder().part_number(number);
            Ok(match copied.copy_part_result {
                None => part.build(),
                Some(copied) => {
                    let part = part.set_e_tag(copied.e_tag).set_checksum_crc32(copied.checksum_crc32);
                    let part = part.set_checksum_crc32_c(copied.checksum_crc32_c);
                    part.set_checksum_crc64_nvme(copied.checksum_crc64_nvme).build()
                }
            })
        }
    });
    upload::end(s3, name, &upload, parts.await, length).await
}

async fn whole(s3: &S3, from: &Address, name: &str) -> Result<(), Error> {
    let (encryption, key) = s3.encryption();
    let request = s3.client.copy_object().bucket(&s3.bucket).key(s3.key(name)).copy_source(from.source());
    let request = request.set_server_side_encryption(encryption).set_ssekms_key_id(key);
    request.send().await.map(drop).map_err(|error| s3.failure(name, "copy", error))
}

impl Address {
    /// As the header of a copy says it: all but plain characters escaped.
    fn source(&self) -> String {
        let mut text = format!("{}/", self.bucket);
        for byte in self.key.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => text.push(byte.into()),
                other => text.push_str(&format!("%{other:02X}")),
            }
        }
        text
    }
}
