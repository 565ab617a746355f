//! A bucket of an S3-compatible store.
//!
//! Region, endpoint, credentials and the like come from the environment, as for other programs:
//! `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ALLOW_HTTP`.
//! The store must know conditional puts (`If-None-Match: *`), which decide who claims a stretch.

use std::ops::Range;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::{Error, ObjectStore as _, ObjectStoreExt as _, PutMode, PutPayload};
use tokio::runtime::Runtime;

use crate::store::{Entry, Store, StoreError};

/// A bucket and a prefix in it.
pub struct Bucket {
    place: String,
    prefix: Path,
    client: AmazonS3,
    runtime: Runtime,
}

impl Bucket {
    /// `s3://BUCKET/PREFIX`.
    pub fn open(place: &str) -> Result<Self, StoreError> {
        let failed = |cause: String| StoreError { what: place.to_string(), cause, missing: false };
        let (bucket, prefix) = place
            .trim_start_matches("s3://")
            .split_once('/')
            .unwrap_or((place.trim_start_matches("s3://"), ""));
        if bucket.is_empty() {
            return Err(failed("no bucket is named; write s3://BUCKET/PREFIX".into()));
        }
        let client = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .build()
            .map_err(|cause| failed(cause.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|cause| failed(cause.to_string()))?;
        let prefix = Path::parse(prefix).map_err(|cause| failed(cause.to_string()))?;
        Ok(Bucket { place: place.trim_end_matches('/').to_string(), prefix, client, runtime })
    }

    fn path(&self, path: &str) -> Result<Path, StoreError> {
        let whole = format!("{}/{path}", self.prefix);
        Path::parse(whole.trim_matches('/')).map_err(|cause| StoreError {
            what: format!("{}/{path}", self.place),
            cause: cause.to_string(),
            missing: false,
        })
    }

    fn error(&self, what: &str, path: &str, cause: &Error) -> StoreError {
        StoreError {
            what: format!("{what} {}/{path}", self.place),
            cause: cause.to_string(),
            missing: matches!(cause, Error::NotFound { .. }),
        }
    }
}

impl Store for Bucket {
    fn describe(&self) -> String {
        self.place.clone()
    }

    fn list(&self, folder: &str) -> Result<Vec<Entry>, StoreError> {
        let below = self.path(folder)?;
        let listed = self.client.list(Some(&below)).try_collect::<Vec<_>>();
        let listed = self.runtime.block_on(listed).map_err(|cause| self.error("listing", folder, &cause))?;
        let skipped = match self.prefix.as_ref() {
            "" => 0,
            prefix => prefix.len() + 1,
        };
        let entry = |object: object_store::ObjectMeta| {
            let path = object.location.as_ref().get(skipped..)?.to_string();
            Some(Entry { path, size: object.size, modified: object.last_modified.timestamp_micros() })
        };
        Ok(listed.into_iter().filter_map(entry).collect())
    }

    fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let place = self.path(path)?;
        let read = self.runtime.block_on(self.client.get_range(&place, range));
        read.map_err(|cause| self.error("reading", path, &cause))
    }

    fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        let place = self.path(path)?;
        let put = self.runtime.block_on(self.client.put(&place, PutPayload::from_bytes(bytes)));
        put.map(drop).map_err(|cause| self.error("writing", path, &cause))
    }

    fn create(&self, path: &str, bytes: Bytes) -> Result<bool, StoreError> {
        let place = self.path(path)?;
        let put = self.client.put_opts(&place, PutPayload::from_bytes(bytes), PutMode::Create.into());
        match self.runtime.block_on(put) {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. }) => Ok(false),
            Err(cause) => Err(self.error("writing", path, &cause)),
        }
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        let place = self.path(path)?;
        match self.runtime.block_on(self.client.delete(&place)) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(cause) => Err(self.error("deleting", path, &cause)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a server that speaks S3, where one is named: `YAGURA_TEST_S3=s3://BUCKET/PREFIX` with
    /// the usual variables. `moto_server -p 5000` is one; the bucket must exist.
    #[test]
    fn a_real_server_keeps_what_a_folder_keeps() {
        let Ok(place) = std::env::var("YAGURA_TEST_S3") else { return };
        for place in [format!("{place}/files/deep"), format!("{place}/files/")] {
            let store = Bucket::open(&place).unwrap();
            for entry in store.list("").unwrap() {
                store.remove(&entry.path).unwrap();
            }
            let strange = "message/date=2026-11-25/cell=bay%202%2F%E5%B7%A6/0-1-2.parquet";
            assert!(store.create("a/b/x", Bytes::from_static(b"one")).unwrap());
            assert!(!store.create("a/b/x", Bytes::from_static(b"two")).unwrap());
            assert_eq!(&store.read("a/b/x", 0..3).unwrap()[..], b"one");
            store.put("a/b/x", Bytes::from_static(b"three")).unwrap();
            assert_eq!(&store.read("a/b/x", 1..5).unwrap()[..], b"hree");
            store.put(strange, Bytes::from_static(b"4")).unwrap();
            assert_eq!(store.list("message").unwrap()[0].path, strange);
            let sizes: Vec<u64> = store.list("").unwrap().into_iter().map(|entry| entry.size).collect();
            assert_eq!(sizes, [5, 1]);
            assert!(store.read("a/b/y", 0..1).unwrap_err().missing);
            assert!(store.list("nothing").unwrap().is_empty());
            for entry in store.list("").unwrap() {
                store.remove(&entry.path).unwrap();
            }
            store.remove("a/b/x").unwrap();
        }
    }
}
