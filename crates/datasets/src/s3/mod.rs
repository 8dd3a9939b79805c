//! Buckets of an S3-compatible store: objects with all that belongs to them, their versions, the settings of buckets.
//!
//! Start at [`S3Buckets`]. Where things lie in a recovery point is in `path.rs`, what the list of a bucket tells in
//! `entry.rs`; what is read anew is chosen in `plan.rs`, a pure function.

mod capture;
mod entry;
mod fetch;
mod in_place;
mod path;
mod plan;
mod previous;
mod record;
pub mod restore;
mod settings;

use jiff::Timestamp;
use rekindle_stack as stack;
use rekindle_stores::s3::{S3Client, S3Settings};
use rekindle_vault::{AddedBytes, Backup};

pub use entry::{ATTRIBUTE, ObjectEntry};
pub use in_place::{BucketAside, Content, S3Aside, Touched, part_of};
pub use path::key_of;
pub use record::{BucketRecord, S3Record, VersioningRecord};
pub use settings::BucketSettings;

use crate::{
    Aside, CaptureContext, CaptureError, Captured, Dataset, DatasetRecord, InPlaceError,
    InPlaceSteps, Journal, PointSource, RestoredInPlace, Surroundings,
};
use capture::BucketCapture;
use fetch::Tags;
use in_place::BucketPlan;
use restore::{S3RestoreError, Scope};

/// Buckets to be captured.
#[derive(Debug)]
pub struct S3Buckets {
    client: S3Client,
    buckets: Vec<String>,
    with_versions: bool,
    tags: Tags,
    /// As of when they come back in place.
    at: Option<Timestamp>,
}

impl S3Buckets {
    /// The buckets of the configuration.
    ///
    /// # Errors
    /// If the access keys cannot be read or the endpoint cannot be used. Nothing is sent yet.
    pub fn from_settings(
        settings: &stack::S3Dataset,
        surroundings: &Surroundings,
    ) -> Result<Self, CaptureError> {
        let client = client(settings, surroundings)?;
        let buckets = settings.buckets.clone();
        Ok(Self::new(client, buckets, settings.versions, settings.tags))
    }

    /// These buckets of a server.
    #[must_use]
    pub fn new(
        client: S3Client,
        buckets: Vec<String>,
        versions: stack::S3Versions,
        tags: stack::S3Tags,
    ) -> Self {
        Self {
            client,
            buckets,
            with_versions: versions == stack::S3Versions::All,
            tags: match tags {
                stack::S3Tags::New => Tags::WithContent,
                stack::S3Tags::Always => Tags::Always,
                stack::S3Tags::Never => Tags::Never,
            },
            at: None,
        }
    }

    /// The server, for something else.
    #[must_use]
    pub fn into_client(self) -> S3Client {
        self.client
    }

    /// The server.
    #[must_use]
    pub const fn client(&self) -> &S3Client {
        &self.client
    }

    /// What a restore in place would do to each bucket.
    fn in_place<'a>(
        &self,
        source: &'a PointSource<'a>,
    ) -> Result<Vec<BucketPlan<'a>>, S3RestoreError> {
        let parts = match &source.part {
            Some(part) => vec![part_of(part)?],
            None => {
                let buckets = self.buckets.iter();
                buckets.map(|name| (name.clone(), Scope::All)).collect()
            }
        };
        if let Some((other, _)) = parts.iter().find(|(name, _)| !self.buckets.contains(name)) {
            return Err(S3RestoreError::refused(
                format!("bucket `{other}` is none of this service's buckets in rekindle.yaml"),
                "restore it to a place of its own",
            ));
        }
        let plan = |(bucket, scope): &(String, Scope)| {
            BucketPlan::make(&self.client, source, bucket, scope, self.at)
        };
        parts.iter().map(plan).collect()
    }
}

/// A name for what is set aside that nothing has yet: the time, and the process.
fn aside_id() -> String {
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ");
    format!("{time}-{}", std::process::id())
}

fn aside_of(aside: &Aside) -> Result<&S3Aside, InPlaceError> {
    match aside {
        Aside::S3(aside) => Ok(aside),
        _ => Err(InPlaceError::Refused {
            reason: "what was set aside is not of a bucket".to_owned(),
            hint: None,
        }),
    }
}

fn client(
    settings: &stack::S3Dataset,
    surroundings: &Surroundings,
) -> Result<S3Client, CaptureError> {
    let keys = settings.credentials.read()?;
    let keys = stack::S3Credentials::parse(&keys).map_err(|source| CaptureError::S3Keys {
        endpoint: settings.endpoint.to_string(),
        source,
    })?;
    let endpoint = &settings.endpoint;
    let is_https = endpoint.scheme() == "https";
    let address = surroundings.address_of(endpoint, if is_https { 443 } else { 80 });
    let mut found = S3Settings::new(Some(endpoint.expose().to_owned()), keys);
    match address {
        // The certificate is for the name.
        Some(address) if is_https => {
            let name = &surroundings.service;
            found.endpoint = Some(format!("https://{name}:{}", address.port()));
            found.resolved = Some(address);
        }
        Some(address) => found.endpoint = Some(format!("http://{address}")),
        None => {}
    }
    found.region.clone_from(&settings.region);
    found.path_style = settings.path_style;
    found.ca_file.clone_from(&settings.ca_file);
    Ok(S3Client::new(found)?)
}

impl Dataset for S3Buckets {
    fn kind(&self) -> &'static str {
        "s3"
    }

    fn describe(&self) -> String {
        let what = match self.buckets.as_slice() {
            [bucket] => format!("bucket `{bucket}`"),
            buckets => format!("buckets {}", buckets.join(", ")),
        };
        let versions = match self.with_versions {
            true => "with older versions where it keeps them",
            false => "without older versions",
        };
        format!("{what} of {}, {versions}", self.client.endpoint())
    }

    fn capture(
        &self,
        backup: &Backup,
        context: &CaptureContext<'_>,
    ) -> Result<Captured, CaptureError> {
        // What is written from now on need not be in any listing.
        let as_of = Timestamp::now();
        let mut record = S3Record {
            endpoint: self.client.endpoint(),
            buckets: Vec::new(),
        };
        let (mut warnings, mut partly) = (Vec::new(), Vec::new());
        for bucket in &self.buckets {
            let captured = BucketCapture {
                client: &self.client,
                backup,
                at: &context.at,
                bucket,
                with_versions: self.with_versions,
                tags: self.tags,
                progress: context.progress,
            }
            .run()?;
            record.buckets.push(captured.record);
            warnings.extend(captured.warnings);
            partly.extend(captured.partly);
        }
        Ok(Captured {
            record: DatasetRecord::S3(record),
            warnings,
            partly,
            as_of: Some(as_of),
            beside: AddedBytes::default(),
        })
    }

    fn at_moment(self: Box<Self>, at: Timestamp) -> Result<Box<dyn Dataset>, InPlaceError> {
        Ok(Box::new(Self {
            at: Some(at),
            ..*self
        }))
    }

    fn plan_in_place(&self, source: &PointSource<'_>) -> Result<InPlaceSteps, InPlaceError> {
        let mut steps = InPlaceSteps::default();
        for plan in self.in_place(source)? {
            plan.tell(&mut steps);
        }
        Ok(steps)
    }

    fn restore_in_place(
        &self,
        source: &PointSource<'_>,
        journal: &mut dyn Journal,
    ) -> Result<RestoredInPlace, InPlaceError> {
        let plans = self.in_place(source)?;
        in_place::restore(&self.client, &plans, &aside_id(), journal)
    }

    fn undo_in_place(&self, aside: &Aside) -> Result<Vec<String>, InPlaceError> {
        Ok(in_place::undo(&self.client, aside_of(aside)?)?)
    }

    fn discard_aside(&self, aside: &Aside) -> Result<Vec<String>, InPlaceError> {
        Ok(in_place::discard(&self.client, aside_of(aside)?)?)
    }
}
